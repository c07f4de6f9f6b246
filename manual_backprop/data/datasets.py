"""Labelled images, shuffled and split as the course does it: `load_dataset`."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from manual_backprop.data.examples import Examples
from manual_backprop.data.own_arrays import own_examples
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
        """Raise `ValueError` unless these are rows of `features` numbers with a label each."""
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
        Height and width of an image; None where the features are not pixels.
    """

    train: Split
    valid: Split
    test: Split
    source: str
    class_names: tuple[str, ...]
    image_shape: tuple[int, int] | None

    @property
    def features(self) -> int:
        """Numbers that the network sees of an example, F: the pixels of an image."""
        return int(self.train.images.shape[1])

    @classmethod
    def from_arrays(
        cls, images: ArrayLike, labels: ArrayLike, valid: float = 0.2, test: float = 0.0, seed: int = 0
    ) -> "Dataset":
        """Shuffle arrays of your own and split them; they stay as they are.

        Parameters
        ----------
        images
            (N, F) or (N, height, width): uint8 from 0 to 255, which the network sees as 0 to 1, or any other numbers,
            which it sees as they are. Rows of a square number of bytes are taken for images, other rows are not.
        labels
            Integers (N,): classes, counted from 0.
        valid, test
            Which part of the examples to validate and to test with.
        seed
            Of `np.random.RandomState`, which shuffles them.

        Raises
        ------
        ValueError
            If an array or a part is none of these, or nothing is left to train on.
        """
        if not (valid >= 0 and test >= 0 and valid + test < 1):
            raise ValueError(f"valid {valid}, test {test}: expected parts of 1, with something left to train on")
        examples = own_examples(images, labels)
        count = len(examples.labels)
        sizes = round(count * valid), round(count * test)
        return _split(examples, (count - sum(sizes), *sizes), seed, in_place=False)

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
        - `glyphs`: letters A to J rendered from the fonts that come with matplotlib; `glyphs:DIR`: from those in
          DIR;
        - an `.npz` file with the arrays `images`, uint8 or floats from 0 to 1, and `labels`;
        - either file of a pair `NAME-images-idx3-ubyte` and `NAME-labels-idx1-ubyte`, each plain or `.gz`, or a
          folder with one such pair;
        - a folder or `.tar.gz` file with one sub-folder of PNG files for each class.
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
        return _split(examples, sizes, seed, in_place=True)
    except MemoryError as error:
        uncompressed = "less, or uncompressed IDX or npz files, which are memory-mapped"
        raise DataError(printable(source), "more than fits in memory", uncompressed) from error


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


def _split(examples: Examples, sizes: tuple[int, int, int], seed: int, in_place: bool) -> Dataset:
    if sizes[0] < 1:
        raise ValueError(f"{len(examples.labels)} examples: none is left to train on")
    order = np.arange(len(examples.labels))
    np.random.RandomState(seed).shuffle(order)
    images = shuffled(examples.images, order) if in_place else examples.images[order]
    labels = examples.labels[order]
    parts = [slice(stop - size, stop) for size, stop in zip(sizes, np.cumsum(sizes), strict=True)]
    train, valid, test = (Split(_part(images, part), labels[part]) for part in parts)
    return Dataset(train, valid, test, examples.source, examples.class_names, examples.image_shape)


def shuffled(images: NDArray[Any], order: NDArray[np.int64], memory: int = 2**25) -> Images:
    """Return the rows `images[order]`: in the array's own memory, some columns at a time, since it may be large.

    A memory-mapped file is only referred to.

    Parameters
    ----------
    memory : the bytes beside `images` that this may take
    """
    if isinstance(images, np.memmap):
        return ShuffledRows(images.view(np.ndarray), order)
    columns = max(1, memory // (len(images) * images.itemsize))
    for start in range(0, images.shape[1], columns):
        images[:, start : start + columns] = images[order, start : start + columns]
    return images


def _part(images: Images, part: slice) -> Images:
    return ShuffledRows(images.stored, images.order[part]) if isinstance(images, ShuffledRows) else images[part]
