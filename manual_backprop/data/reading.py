"""What all readers of data files share: one-line refusals and memory bounded by what a file honestly holds."""

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedIOBase
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

MAPPED_ABOVE = 256 * 2**20
"""Images stored uncompressed in more bytes than this are memory-mapped; fewer are read into memory."""

PIECE = 2**20
"""Bytes of a file that are read at a time."""


class DataError(ValueError):
    """A data source is refused: one line that names the file, what is wrong with it and what was expected."""

    def __init__(self, path: object, wrong: str, expected: str) -> None:
        super().__init__(f"{printable(path)}: {printable(wrong)}; expected {printable(expected)}")


def printable(text: object, longest: int = 300) -> str:
    r"""Return `str(text)` on one line: a newline as \n, unprintable characters alike, without its middle if long."""
    line = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))
    return line if len(line) <= longest else f"{line[: longest // 2]}...{line[-longest // 2 :]}"


@contextmanager
def parsing(path: object, expected: str) -> Iterator[None]:
    """Turn whatever a library raises over the bytes of a broken file into one DataError.

    The libraries that parse zip, gzip, tar, npy and PNG files promise no list of exceptions for hostile bytes, hence
    `Exception`; keep what stands inside to the parsing itself.
    """
    try:
        yield
    except (DataError, MemoryError):
        raise
    except Exception as error:
        raise DataError(path, f"cannot be read ({type(error).__name__}: {error})", expected) from error


def unpacked_limit(stored: int) -> int:
    """Return how many bytes a compressed file of `stored` bytes may unpack to: 100 times as many, and always 64 MiB.

    Deflate packs up to 1032 times, which only a decompression bomb needs: notMNIST packs 3 times.
    """
    return max(64 * 2**20, 100 * stored)


def read_values(file: IO[bytes] | BufferedIOBase, dtype: DTypeLike, count: int) -> NDArray[Any]:
    """Read the next `count` values, or as many as follow, without a second copy of them in memory."""
    values = np.empty(count, dtype)
    content, filled = values.view(np.uint8), 0
    while piece := file.read(min(PIECE, content.nbytes - filled)):
        content[filled : filled + len(piece)] = np.frombuffer(piece, np.uint8)
        filled += len(piece)
    return values[: filled // values.itemsize]


def map_array(
    path: Path, dtype: DTypeLike, offset: int, shape: tuple[int, ...], order: Literal["C", "F"] = "C"
) -> "np.memmap[Any, np.dtype[Any]]":
    """Map an array that lies in the file `path` from byte `offset` on, to be read in random order."""
    array = np.memmap(path, dtype, "r", offset, shape, order)
    mapping: Any = array.base
    if hasattr(mmap, "MADV_RANDOM"):  # everywhere but on Windows
        mapping.madvise(mmap.MADV_RANDOM)  # else a whole stretch of the file is read for each row: 300 times slower
    return array
