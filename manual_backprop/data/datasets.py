"""Labelled images, shuffled and split as the course does it: ``load_dataset``."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manual_backprop.data.reading import DataError, printable
from manual_backprop.data.shuffled_rows import ShuffledRows
from manual_backprop.data.sources import read_source

Images = NDArray[Any] | ShuffledRows

COURSE_SEED = 521
COURSE_TRAIN = 10_000
COURSE_VALID = 6_000


@dataclass(frozen=True)
class Split:
    """Some of the examples.

    Attributes
    ----------
    images
        Rows (N, F): uint8 from 0 to 255, or floats from 0 to 1. An array; for a memory-mapped file `ShuffledRows`,
        whose slices and index arrays give arrays.
    labels
        Classes (N,), int64.
    """

    images: Images
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def check(self, features: int) -> None:
        """Raise ``ValueError`` unless these are rows of ``features`` numbers with a label each."""
        if self.images.ndim != 2 or self.images.shape[1] != features:
            raise ValueError(f"images: expected (N, {features}), got {self.images.shape}")
        if self.labels.shape != self.images.shape[:1] or not np.issubdtype(self.labels.dtype, np.integer):
            expected = f"integers ({len(self.images)},)"
            raise ValueError(f"labels: expected {expected}, got {self.labels.dtype} {self.labels.shape}")


@dataclass(frozen=True)
class Dataset:
    """Images to train on, to validate with and to test with.

    Attributes
    ----------
    train, valid, test
        The three sets; no example is in two of them.
    source
        Where the images come from, one line for people.
    class_names
        The name of each class, by label.
    image_shape
        Height and width of an image.
    """

    train: Split
    valid: Split
    test: Split
    source: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int]

    @property
    def features(self) -> int:
        """Pixels of an image, F."""
        return self.image_shape[0] * self.image_shape[1]

    @property
    def classes(self) -> int:
        """Number of classes, K."""
        return len(self.class_names)


def load_dataset(
    source: str | os.PathLike[str] = "glyphs", split: Sequence[int] | None = None, seed: int = COURSE_SEED
) -> Dataset:
    """Load images and labels, shuffle them and split them.

    Parameters
    ----------
    source
        - ``glyphs``: letters A to J rendered from the fonts that come with matplotlib; ``glyphs:DIR``: from those in
          DIR;
        - an ``.npz`` file with the arrays `images`, uint8 or floats from 0 to 1, and `labels`;
        - either file of a pair ``NAME-images-idx3-ubyte`` and ``NAME-labels-idx1-ubyte``, each plain or ``.gz``, or a
          folder with one such pair;
        - a folder or ``.tar.gz`` file with one sub-folder of PNG files for each class.
    split
        How many examples to train on, validate with and test with; what is left is not used. By default the course's
        10,000, 6,000 and the rest; with fewer than 16,000 examples 70, 20 and 10 percent.
    seed
        Of `np.random.RandomState`, which shuffles them.

    Raises
    ------
    FileNotFoundError
        Where there is nothing at that path.
    ValueError
        Where the source is broken (`DataError`) or too small for `split`: one line that says what was expected.

    Warns
    -----
    UnreadableImagesWarning
        Where PNG files are broken: they are left out.
    """
    try:
        examples = read_source(source)
        sizes = split_sizes(len(examples.labels), split)
        order = np.arange(len(examples.labels))
        np.random.RandomState(seed).shuffle(order)
        stops = np.cumsum(sizes)
        train, valid, test = (
            Split(_take(examples.images, order[stop - size : stop]), examples.labels[order[stop - size : stop]])
            for size, stop in zip(sizes, stops, strict=True)
        )
    except MemoryError as error:
        uncompressed = "less, or uncompressed IDX or npz files, which are memory-mapped"
        raise DataError(printable(source), "more than fits in memory", uncompressed) from error
    return Dataset(train, valid, test, examples.source, examples.class_names, examples.image_shape)


def split_sizes(count: int, split: Sequence[int] | None = None) -> tuple[int, int, int]:
    """Return how many of `count` examples to train on, validate with and test with, as asked for or by default."""
    if split is None:
        course = count >= COURSE_TRAIN + COURSE_VALID
        train, valid = (COURSE_TRAIN, COURSE_VALID) if course else (count * 7 // 10, count * 2 // 10)
        test = count - train - valid
    else:
        if len(split) != 3:
            raise ValueError(f"split {printable(split)}: expected three sizes: train, valid, test")
        train, valid, test = split
    sizes = f"split {train} {valid} {test}"
    if train < 1 or valid < 0 or test < 0:
        raise ValueError(f"{sizes} of {count:,} examples: expected at least 1 to train on, and none below 0")
    if train + valid + test > count:
        raise ValueError(
            f"{sizes} asks for {train + valid + test:,} examples: expected at most {count:,}, all there are"
        )
    return train, valid, test


def _take(images: NDArray[Any], order: NDArray[np.int64]) -> Images:
    """Return the rows `images[order]`: copied into memory, but only referred to where `images` is memory-mapped."""
    if isinstance(images, np.memmap):
        return ShuffledRows(images.view(np.ndarray), order)
    return images[order]
