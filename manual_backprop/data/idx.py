"""Pairs of IDX files, the format of MNIST: `*-images-idx3-ubyte` and `*-labels-idx1-ubyte`, each plain or `.gz`.

A file is the bytes 0, 0, 8 (unsigned bytes) and the number of dimensions, the size of each dimension as a big-endian
32-bit integer, and the values, the last dimension fastest.
"""

import gzip
import math
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from manual_backprop.data import reading
from manual_backprop.data.examples import Examples, class_labels, image_rows
from manual_backprop.data.reading import DataError, map_array, parsing, printable, read_values, unpacked_limit

IMAGES = "-images-idx3-ubyte"
LABELS = "-labels-idx1-ubyte"


def is_idx(path: Path) -> bool:
    """Tell by its name whether `path` is one of a pair of IDX files."""
    return path.name.removesuffix(".gz").endswith((IMAGES, LABELS))


def read_idx_pair(path: Path) -> Examples:
    """Read the pair that `path` belongs to, or the only pair in the folder `path`."""
    images_file, labels_file = find_pair(path)
    images, image_shape = image_rows(images_file, read_idx(images_file, dimensions=3))
    labels, class_names = class_labels(labels_file, read_idx(labels_file, dimensions=1), len(images))
    source = f"IDX files {printable(images_file.name)} and {printable(labels_file.name)} ({len(images):,} images)"
    return Examples(images, labels, source, class_names, image_shape)


def find_pair(path: Path) -> tuple[Path, Path]:
    """Return the images file and the labels file, whose names begin alike; one may be compressed and the other not."""
    files = filter(is_idx, path.iterdir()) if path.is_dir() else [path]
    names = {file.name.removesuffix(".gz").removesuffix(IMAGES).removesuffix(LABELS) for file in files}
    if len(names) > 1:
        raise DataError(
            path, f"IDX files of {len(names)} sets ({', '.join(sorted(names))})", "the path of one of the files"
        )
    folder, name = (path if path.is_dir() else path.parent), names.pop()
    endings = (".gz", "") if path.suffix == ".gz" else ("", ".gz")

    def either(kind: str) -> Path:
        for ending in endings:
            if (file := folder / f"{name}{kind}{ending}").is_file():
                return file
        raise DataError(path, f"no file {name}{kind} or {name}{kind}.gz", "images and labels side by side")

    return either(IMAGES), either(LABELS)


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes: all of it, or as a read-only memory map where it is plain and large.

    Raises
    ------
    DataError
        Where the file is not such a file, or holds more or fewer values than its header says.
    """
    expected = f"an IDX file of unsigned bytes in {dimensions} dimension{'s' * (dimensions > 1)}"
    magic = bytes([0, 0, 8, dimensions])
    compressed = path.suffix == ".gz"
    size = path.stat().st_size
    with parsing(path, expected), gzip.open(path) if compressed else path.open("rb") as file:
        header = file.read(4 + 4 * dimensions)
        if len(header) < 4 + 4 * dimensions or header[:4] != magic:
            raise DataError(
                path, f"begins with bytes {header[:4].hex(' ') or '(none)'}", f"{expected}, {magic.hex(' ')}"
            )
        shape = struct.unpack(f">{dimensions}I", header[4:])
        count = math.prod(shape)
        claim = f"a header that claims {' x '.join(f'{n:,}' for n in shape)} bytes"
        limit = unpacked_limit(size) if compressed else size - len(header)
        if count > limit:
            raise DataError(path, claim, f"at most {limit:,} in a {'compressed ' * compressed}file of {size:,}")
        if not compressed and count > reading.MAPPED_ABOVE:
            if count != limit:
                raise DataError(path, claim, f"{limit:,}, as many as follow")
            return map_array(path, np.uint8, len(header), shape)
        values = read_values(file, np.uint8, count)
        surplus = file.read(1)
        if len(values) != count or surplus:
            raise DataError(path, claim, f"as many as follow ({'more' if surplus else f'{len(values):,}'})")
        return values.reshape(shape)
