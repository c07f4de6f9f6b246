"""Images with their labels as a reader hands them over, and the checks that every source must pass."""

import math
import string
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manual_backprop.data.reading import DataError

FEWEST_CLASSES = 10
"""notMNIST's classes, A to J; images and labels without names of their own have at least these."""

PIXEL_TYPES = (np.uint8, np.float32, np.float64)


@dataclass(frozen=True)
class Examples:
    """Images in the order of their file.

    Attributes
    ----------
    images
        Rows (N, F): uint8, or floats within [0, 1]; a `np.memmap` where the file is memory-mapped.
    labels
        The class of each image (N,), from 0 to K - 1.
    source
        Where they come from, one line for people.
    class_names
        K names.
    image_shape
        Height and width; their product is F. None where the features are not pixels.
    """

    images: NDArray[Any]
    labels: NDArray[np.int64]
    source: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int] | None


def image_rows(path: object, images: NDArray[Any]) -> tuple[NDArray[Any], tuple[int, int]]:
    """Return images (N, H, W), (N, H, W, 1) or (N, F) as rows (N, F), and the height and width of an image.

    Rows of a square number of pixels are taken for square images, others for images one pixel high.

    Raises
    ------
    DataError
        Where `images` has another shape or dtype, or a floating pixel outside [0, 1].
    """
    if images.dtype not in PIXEL_TYPES:
        raise DataError(
            path, f"images of dtype {images.dtype}", "uint8 (0 to 255), or float32 or float64 within [0, 1]"
        )
    shape = images.shape[:3] if images.ndim == 4 and images.shape[3] == 1 else images.shape
    if len(shape) not in (2, 3) or 0 in shape:
        raise DataError(path, f"images of shape {images.shape}", "(N, height, width) or (N, features), none of them 0")
    rows = images.reshape(shape[0], -1)
    side = math.isqrt(rows.shape[1])
    if len(shape) == 3:
        height, width = shape[1:]
    elif side * side == rows.shape[1]:
        height, width = side, side
    else:
        height, width = 1, rows.shape[1]
    if rows.dtype != np.uint8:
        _check_floats(path, rows)
    return rows, (height, width)


def _check_floats(path: object, rows: NDArray[Any], block: int = 4096) -> None:
    """Refuse pixels outside [0, 1], NaN among them, block by block so that a memory-mapped file stays on disk."""
    for start in range(0, len(rows), block):
        pixels = rows[start : start + block]
        with np.errstate(invalid="ignore"):  # a signalling NaN is refused like any other
            wrong = ~((pixels >= 0) & (pixels <= 1))
        if wrong.any():
            row, column = np.argwhere(wrong)[0]
            found = f"pixel {pixels[row, column]} in image {start + row}"
            raise DataError(path, found, "floats from 0 to 1 (divide by the largest value), or uint8 from 0 to 255")


def class_labels(path: object, labels: NDArray[Any], count: int) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Return labels (N,) as int64, and the names of the K classes: letters, or numbers where there are more than 26.

    There are ten classes, A to J; or more, if every class up to the largest label occurs.

    Raises
    ------
    DataError
        Where there are not `count` labels in one dimension, or one of them is not a whole number from 0 to K - 1.
    """
    whole_numbers = "whole numbers, one for each image (of one-hot rows, take argmax(axis=1))"
    if labels.dtype.kind not in "iuf" or labels.ndim != 1:
        raise DataError(path, f"labels of dtype {labels.dtype} and shape {labels.shape}", whole_numbers)
    if len(labels) != count:
        raise DataError(path, f"{len(labels):,} labels", f"{count:,}, one for each image")
    with np.errstate(invalid="ignore", over="ignore"):
        numbers = labels.astype(np.float64)  # exact below 2^31, for labels of any type
        wrong = ~((numbers >= 0) & (numbers < 2**31) & (numbers == np.floor(numbers)))
    if wrong.any():
        first = int(np.argmax(wrong))
        raise DataError(
            path, f"label {labels[first]} at example {first}", "whole numbers from 0 to the number of classes - 1"
        )
    labels = labels.astype(np.int64)
    present = np.unique(labels)
    classes = max(FEWEST_CLASSES, int(present[-1]) + 1)
    if classes > FEWEST_CLASSES and len(present) < classes:
        gap = int(np.argmax(present != np.arange(len(present))))
        stray = int(np.argmax(labels >= max(gap, FEWEST_CLASSES)))
        raise DataError(
            path,
            f"label {labels[stray]} at example {stray}, but no example of class {gap}",
            f"0 to {FEWEST_CLASSES - 1}, or more classes if each of them occurs",
        )
    letters = string.ascii_uppercase[:classes]
    return labels, tuple(letters) if len(letters) == classes else tuple(map(str, range(classes)))
