"""The layers of a GPT for a block of sequences, forward and backward, into arrays that are made once.

Each `X_forward` fills a tuple of arrays, and `X_backward` reads it. Rows are tokens, one sequence after the other. A
sum over a row or a column is a product with a vector, which BLAS does faster than NumPy adds.

Two threads compute at once, but only one at a time is in Python, and waking the other one takes some microseconds. So
few calls on much count more here than arrays that stay in the nearest cache.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from manual_backprop.arrays import Array
from manual_backprop.fast.aligned import aligned_empty

Tokens = NDArray[np.integer[Any]]

GELU_SLOPE = math.sqrt(2 / math.pi)
GELU_CUBIC = 0.044715
# Entries that pass through several elementwise operations together: few enough to stay in a core's second cache.
STRIP = 98_304


class Norm(NamedTuple):
    """What layer_norm keeps: x̂ (R, D), the inverse of the deviation (R, 1), and its output (R, D)."""

    normalized: Array
    inverse: Array
    output: Array

    @classmethod
    def make(cls, rows: int, width: int, dtype: DTypeLike) -> "Norm":
        """Return arrays for so many rows."""
        return cls(*(aligned_empty(shape, dtype) for shape in ((rows, width), (rows, 1), (rows, width))))


def norm_forward(x: Array, weight: Array, kept: Norm, eps: float = 1e-5) -> Array:
    """Return x̂ γ, as `layer_norm` without a bias."""
    normalized, inverse, output = kept
    width = x.shape[1]
    np.matmul(x, np.full((width, 1), 1 / width, x.dtype), out=inverse)
    np.subtract(x, inverse, out=normalized)
    np.vecdot(normalized, normalized, out=inverse[:, 0])
    inverse += width * eps
    np.sqrt(inverse, out=inverse)
    np.divide(math.sqrt(width), inverse, out=inverse)
    normalized *= inverse
    return np.multiply(normalized, weight, out=output)


def norm_backward(grad_output: Array, weight: Array, kept: Norm, grad_weight: Array, grad_x: Array) -> None:
    """Add dL/dx to `grad_x` and write dL/dγ, as `layer_norm_backward`; overwrite `grad_output` and `kept.output`.

    With g = dL/dy γ, the two means of a row are products with γ: sum_d g_d = dL/dy · γ, sum_d g_d x̂_d = (dL/dy x̂) · γ.
    """
    normalized, inverse, scratch = kept
    width = len(weight)
    np.multiply(grad_output, normalized, out=scratch)
    np.matmul(np.ones((1, len(scratch)), scratch.dtype), scratch, out=grad_weight[np.newaxis])
    column = (weight / width)[:, np.newaxis]
    correlation, mean = scratch @ column, grad_output @ column
    np.multiply(normalized, correlation, out=scratch)
    scratch += mean
    grad_output *= weight
    grad_output -= scratch
    grad_output *= inverse
    grad_x += grad_output


class Gelu(NamedTuple):
    """What gelu keeps: its slope at each entry, and its output, (R, 4D) each."""

    slope: Array
    output: Array

    @classmethod
    def make(cls, rows: int, width: int, dtype: DTypeLike) -> "Gelu":
        """Return arrays for so many rows."""
        return cls(aligned_empty((rows, width), dtype), aligned_empty((rows, width), dtype))


def gelu_forward(x: Array, kept: Gelu, scratch: Array) -> Array:
    """Return x p with p = (1 + tanh u) / 2, as `gelu(x, "tanh")`, and keep the slope p + 2 x p (1 - p) du/dx.

    Parameters
    ----------
    x : (R, 4D), overwritten
    scratch : STRIP entries or more
    """
    for rows in _strips(x):
        part, slope, output = (array[rows] for array in (x, *kept))
        p = scratch[: part.size].reshape(part.shape)
        np.multiply(part, part, out=slope)
        np.multiply(slope, GELU_SLOPE * GELU_CUBIC, out=p)
        p += GELU_SLOPE
        p *= part
        np.tanh(p, out=p)
        p *= 0.5
        p += 0.5
        np.multiply(part, p, out=output)
        slope *= 6 * GELU_SLOPE * GELU_CUBIC  # 2 du/dx = 2 √(2/π) (1 + 3 · 0.044715 x²)
        slope += 2 * GELU_SLOPE
        slope *= output
        np.subtract(1, p, out=part)
        slope *= part
        slope += p
    return kept.output


def _strips(x: Array) -> list[slice]:
    """Cut the rows of `x` into strips of about `STRIP` entries."""
    rows = max(1, STRIP // x.shape[1])
    return [slice(start, start + rows) for start in range(0, len(x), rows)]
