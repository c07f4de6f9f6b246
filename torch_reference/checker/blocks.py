"""Passes over large arrays in blocks of rows that fit the cache: there several operations cost as much as one."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

BLOCK = 2**16  # entries of a block


def blocks(array: NDArray[Any]) -> list[Any]:
    """Return slices of the first axis that hold about `BLOCK` entries each."""
    if not array.ndim:
        return [...]
    step = max(1, BLOCK * len(array) // max(1, array.size))
    return [slice(start, start + step) for start in range(0, len(array), step)]


def empty(shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> NDArray[Any]:
    """Return an array that is still to be filled, in PyTorch's memory.

    That comes in pages of 4 KiB. For large arrays NumPy asks for pages of 2 MiB, which take half the time where they
    are at hand, and nine times as long where a virtual machine has to get them from its host.
    """
    return torch.empty(shape, dtype=dtype).numpy()


def all_finite(array: NDArray[Any]) -> bool:
    """Say whether an array holds no infinity or NaN; mostly one pass, without an array of truth values."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(array.sum()) or np.isfinite(array).all())
