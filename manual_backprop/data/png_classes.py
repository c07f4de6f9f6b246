"""Images gathered from PNG files in one folder a class, wherever the files come from."""

import warnings
from collections.abc import Iterable
from typing import IO

import numpy as np

from manual_backprop.data.examples import Examples
from manual_backprop.data.reading import DataError, printable, unpacked_limit

EXPECTED = "one sub-folder of PNG files for each class"


class UnreadableImagesWarning(UserWarning):
    """Some PNG files could not be read and are left out, as two of the original notMNIST_small."""


def is_png(name: str) -> bool:
    """Tell by its name whether a file is an image; hidden ones, which some systems add, are not."""
    return name.lower().endswith(".png") and not name.startswith(".")


class PngClasses:
    """The images read so far, all of one size.

    Parameters
    ----------
    path
        The folder or archive that holds them, for messages.
    stored
        Its size in bytes, which limits the memory that its images may take.
    """

    def __init__(self, path: object, stored: int) -> None:
        self.path = path
        self.limit = unpacked_limit(stored)
        self.size = (0, 0)
        self.pixels: dict[tuple[str, str], bytes] = {}
        self.unreadable: list[str] = []

    def add(self, folder: str, name: str, file: IO[bytes]) -> None:
        """Read one image of the class `folder`; a broken one is only counted.

        Raises
        ------
        DataError
            Where the image is not greyscale of 8 bits, has another size than the first, or is too large.
        """
        from PIL import Image  # not above: most data are no PNG files

        title = f"{folder}/{name}"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what Pillow warns of is either refused here or harmless
            try:
                Image.open(file, formats=["PNG"]).verify()  # the checksums, which decoding leaves out
                file.seek(0)
                image = Image.open(file, formats=["PNG"])
            except Exception:  # Pillow promises no list of exceptions for broken files
                self.unreadable.append(title)
                return
            if image.mode not in ("L", "1"):
                raise DataError(self.path, f"{title} has pixels of mode {image.mode}", "greyscale of 8 bits (mode L)")
            width, height = self.size = image.size if not self.pixels else self.size
            if image.size != self.size:
                found = f"{title} is {image.width} x {image.height} pixels"
                raise DataError(self.path, found, f"{width} x {height} as in the images before it")
            if (len(self.pixels) + 1) * width * height > self.limit:
                raise DataError(self.path, f"{title} is {width} x {height} pixels", f"at most {self.limit:,} in all")
            try:
                self.pixels[folder, name] = image.convert("L").tobytes()
            except Exception:
                self.unreadable.append(title)

    def examples(self, folders: Iterable[str], source: str) -> Examples:
        """Return the images in the order of folder and file names, the sorted `folders` as classes.

        Raises
        ------
        DataError
            Where there are fewer than two classes, or a folder has no readable image.
        """
        folders = sorted(folders)
        if len(folders) < 2:
            raise DataError(self.path, f"{len(folders)} sub-folders", EXPECTED)
        if empty := set(folders) - {folder for folder, _ in self.pixels}:
            raise DataError(self.path, f"no readable PNG file in sub-folder {min(empty)}", EXPECTED)
        if self.unreadable:
            count = f"{len(self.unreadable)} unreadable PNG file{'s' * (len(self.unreadable) > 1)}"
            message = f"{printable(self.path)}: left out {count}, the first {printable(self.unreadable[0])}"
            warnings.warn(message, UnreadableImagesWarning, stacklevel=2)
        names = sorted(self.pixels)
        width, height = self.size
        images = np.empty((len(names), height * width), np.uint8)
        for row, name in zip(images, names, strict=True):
            row[:] = np.frombuffer(self.pixels.pop(name), np.uint8)  # popped, since there may be many
        label_of = {folder: label for label, folder in enumerate(folders)}
        labels = np.array([label_of[folder] for folder, _ in names], np.int64)
        class_names = tuple(printable(folder) for folder in folders)
        return Examples(images, labels, f"{source} ({len(images):,} images)", class_names, (height, width))
