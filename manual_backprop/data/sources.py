"""From the name of a data source to its examples: which reader reads what."""

import os
from pathlib import Path

from manual_backprop.data.examples import Examples, class_labels, image_rows
from manual_backprop.data.idx import is_idx, read_idx_pair
from manual_backprop.data.npz import read_npz
from manual_backprop.data.png_archive import read_png_archive
from manual_backprop.data.png_folder import read_png_folder
from manual_backprop.data.reading import DataError, printable

KINDS = (
    "glyphs, glyphs:DIR, an .npz file, a pair of IDX files (*-images-idx3-ubyte[.gz] and *-labels-idx1-ubyte[.gz]) "
    "or their folder, or a folder or .tar.gz file with one sub-folder of PNG files for each class"
)


def read_source(source: str | os.PathLike[str]) -> Examples:
    """Read what `source` names; see `load_dataset` for the kinds of sources.

    Raises
    ------
    FileNotFoundError
        Where there is nothing at that path.
    DataError
        Where it is not such a source, or a broken one.
    """
    if source == "glyphs":
        return read_glyphs(None)
    if isinstance(source, str) and source.startswith("glyphs:") and source != "glyphs:":
        return read_glyphs(Path(source.removeprefix("glyphs:")))
    path = Path(source)
    if not os.fspath(source):
        raise DataError("''", "no data source", KINDS)
    if not os.path.exists(path):
        raise FileNotFoundError(f"{printable(path)}: no such file or folder; expected {KINDS}")
    if path.is_dir():
        return read_idx_pair(path) if any(map(is_idx, path.iterdir())) else read_png_folder(path)
    if not path.is_file():
        raise DataError(path, "neither a file nor a folder", KINDS)
    if is_idx(path):
        return read_idx_pair(path)
    if path.name.lower().endswith(".npz"):
        return read_npz(path)
    if path.name.lower().endswith((".tar.gz", ".tgz")):
        return read_png_archive(path)
    raise DataError(path, "a file of no known kind", KINDS)


def read_glyphs(folder: Path | None) -> Examples:
    """Render the letters A to J from matplotlib's fonts, or from those in `folder`."""
    from manual_backprop.data.glyphs.rendering import load_glyphs  # here, since reading a file needs no fonts

    images, labels = load_glyphs(folder)
    source = "letters rendered from " + (f"the fonts in {printable(folder)}" if folder else "matplotlib's fonts")
    rows, image_shape = image_rows(source, images)
    checked, class_names = class_labels(source, labels, len(rows))
    return Examples(rows, checked, f"{source}, not notMNIST ({len(rows):,} images)", class_names, image_shape)
