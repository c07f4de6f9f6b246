"""The layers of a GPT for a block of sequences, forward and backward, into arrays that are made once.

Each `X_forward` fills a tuple of arrays, and `X_backward` reads it. Rows are tokens, one sequence after the other. A
sum over a row or a column is a product with a vector, which BLAS does faster than NumPy adds.
"""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from manual_backprop.arrays import Array

Tokens = NDArray[np.integer[Any]]

# Of scores up to this, and rows with a score above its negative, neither exponentials nor sums leave float32's range.
LARGEST_SCORE = 80
GELU_SLOPE = math.sqrt(2 / math.pi)
GELU_CUBIC = 0.044715
# Entries that pass through several elementwise operations together: few enough to stay in a core's second cache.
STRIP = 32_768


class Norm(NamedTuple):
    """What layer_norm keeps: x̂ (R, D), the inverse of the deviation (R, 1), and its output (R, D)."""

    normalized: Array
    inverse: Array
    output: Array

    @classmethod
    def make(cls, rows: int, width: int, dtype: DTypeLike) -> "Norm":
        """Return arrays for so many rows."""
        return cls(*(np.empty(shape, dtype) for shape in ((rows, width), (rows, 1), (rows, width))))


def norm_forward(x: Array, weight: Array, kept: Norm, eps: float = 1e-5) -> Array:
    """Return x̂ γ, as `layer_norm` without a bias."""
    normalized, inverse, output = kept
    width = x.shape[1]
    np.matmul(x, np.full((width, 1), 1 / width, x.dtype), out=inverse)
    np.subtract(x, inverse, out=normalized)
    np.einsum("rd,rd->r", normalized, normalized, out=inverse[:, 0])
    inverse /= width
    inverse += eps
    np.sqrt(inverse, out=inverse)
    np.reciprocal(inverse, out=inverse)
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
        return cls(np.empty((rows, width), dtype), np.empty((rows, width), dtype))


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


class Attention(NamedTuple):
    """What attention keeps.

    `together` (R, 3D) has query / sqrt(D / heads), key and value beside each other, `weights` (n, heads, T, T) the
    probabilities, and `output` (R, D) the means of the values.
    """

    together: Array
    weights: Array
    output: Array

    @classmethod
    def make(cls, count: int, length: int, heads: int, width: int, dtype: DTypeLike) -> "Attention":
        """Return arrays for so many sequences."""
        shapes = (count * length, 3 * width), (count, heads, length, length), (count * length, width)
        return cls(*(np.empty(shape, dtype) for shape in shapes))


def attention_forward(kept: Attention, mask: Array) -> Array:
    """Return means of the values, as `scaled_dot_product_attention` with `causal=True`.

    Parameters
    ----------
    kept : with query, key and value
    mask : (T, T), 0 where a query sees a key, -inf elsewhere
    """
    together, weights, output = kept
    query, key, value = _heads(together, weights, 3)
    query *= 1 / math.sqrt(query.shape[3])
    np.matmul(query, key.swapaxes(2, 3), out=weights)
    # the maximum of each row takes as long as all the rest, and is needed only where an exponential, or the sum of a
    # row, which has its diagonal in it, could leave the range of numbers
    if not (weights.max() < LARGEST_SCORE and weights.diagonal(axis1=2, axis2=3).min() > -LARGEST_SCORE):
        weights -= np.max(weights + mask, axis=3, keepdims=True)
    weights += mask
    np.exp(weights, out=weights)
    weights /= _row_sums(weights)
    (mixed,) = _heads(output, weights, 1)
    np.matmul(weights, value, out=mixed)
    return output


def attention_backward(
    grad_output: Array, kept: Attention, grad_together: Array, grad_weights: Array, scratch: Array
) -> None:
    """Write the gradients of query, key and value, as `scaled_dot_product_attention_backward`."""
    query, key, value = _heads(kept.together, kept.weights, 3)
    grad_query, grad_key, grad_value = _heads(grad_together, kept.weights, 3)
    (grad_mixed,) = _heads(grad_output, kept.weights, 1)
    np.matmul(kept.weights.swapaxes(2, 3), grad_mixed, out=grad_value)
    np.matmul(grad_mixed, value.swapaxes(2, 3), out=grad_weights)
    grad_weights *= kept.weights  # p dL/dp, from which p times the sum of its row is taken off
    np.multiply(kept.weights, _row_sums(grad_weights), out=scratch)
    grad_weights -= scratch
    np.matmul(grad_weights, key, out=grad_query)
    grad_query *= 1 / math.sqrt(query.shape[3])
    np.matmul(grad_weights.swapaxes(2, 3), query, out=grad_key)


def _row_sums(weights: Array) -> Array:
    return weights @ np.ones((weights.shape[3], 1), weights.dtype)


def _heads(rows: Array, weights: Array, parts: int) -> Array:
    """View rows (n · T, parts · D) as (parts, n, heads, T, D / heads)."""
    count, heads, length, _ = weights.shape
    return rows.reshape(count, length, parts, heads, -1).transpose(2, 0, 3, 1, 4)


def add_by_token(table: Array, tokens: Tokens, rows: Array) -> None:
    """Add each row to its token's row of `table`, as `embedding_backward`: rows of one token lie together once sorted.

    Parameters
    ----------
    table : (V, D)
    tokens : (R,)
    rows : (R, D)
    """
    order = np.argsort(tokens, kind="stable")
    present, starts = np.unique(tokens[order], return_index=True)
    table[present] += np.add.reduceat(rows[order], starts, axis=0)
