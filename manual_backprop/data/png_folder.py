"""A folder with one sub-folder of PNG files for each class, as the original notMNIST_small."""

from pathlib import Path

from manual_backprop.data.examples import Examples
from manual_backprop.data.png_classes import PngClasses, is_png
from manual_backprop.data.reading import DataError, parsing, printable


def read_png_folder(path: Path) -> Examples:
    """Read the PNG files in the sub-folders of `path`, whose sorted names are the classes; hidden ones are left out."""
    with parsing(path, "folders that can be read"):
        folders = [folder for folder in path.iterdir() if folder.is_dir() and not folder.name.startswith(".")]
        files = [file for folder in folders for file in folder.iterdir() if is_png(file.name)]
        sizes = [file.stat().st_size for file in files]
    classes = PngClasses(path, sum(sizes))
    for file in files:
        if not file.is_file():
            raise DataError(file, "neither a file nor a link to one", "a PNG file")
        with parsing(file, "a PNG file"), file.open("rb") as content:
            classes.add(file.parent.name, file.name, content)
    return classes.examples([folder.name for folder in folders], f"PNG files of folder {printable(path.name)}")
