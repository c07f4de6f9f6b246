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
    np.matmul(np.ones(len(scratch), scratch.dtype), scratch, out=grad_weight)
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
    rows = max(1, STRIP // x.shape[1])
    for start in range(0, len(x), rows):
        part, slope, output = (array[start : start + rows] for array in (x, *kept))
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


class Attention(NamedTuple):
    """What attention keeps.

    `together` (R, 3D) has query / sqrt(D / heads), key and value beside each other, `exponentials` (n, heads, T, T) the
    numerators of softmax, `normalizers` (n, heads, T, 1) their sums, and `output` (R, D) the means of the values.
    """

    together: Array
    exponentials: Array
    normalizers: Array
    output: Array

    @classmethod
    def make(cls, count: int, length: int, heads: int, width: int, dtype: DTypeLike) -> "Attention":
        """Return arrays for so many sequences."""
        scores = (count, heads, length, length)
        shapes = (count * length, 3 * width), scores, (*scores[:3], 1), (count * length, width)
        return cls(*(np.empty(shape, dtype) for shape in shapes))


def attention_forward(kept: Attention, mask: Array) -> Array:
    """Return means of the values, as `scaled_dot_product_attention` with `causal=True`.

    The means are divided by the normalizers, not the weights, of which there are more.

    Parameters
    ----------
    kept : with query, key and value
    mask : (T, T), 0 where a query sees a key, -inf elsewhere
    """
    together, scores, normalizers, output = kept
    query, key, value = _heads(together, scores, 3)
    query *= 1 / math.sqrt(query.shape[3])
    np.matmul(query, key.swapaxes(2, 3), out=scores)
    # the maximum of each row takes as long as all the rest, and is needed only where an exponential, or the sum of a
    # row, which has its diagonal in it, could leave the range of numbers
    if not (scores.max() < LARGEST_SCORE and scores.diagonal(axis1=2, axis2=3).min() > -LARGEST_SCORE):
        scores -= np.max(scores + mask, axis=3, keepdims=True)
    scores += mask
    np.exp(scores, out=scores)
    np.matmul(scores, np.ones((scores.shape[3], 1), scores.dtype), out=normalizers)
    (mixed,) = _heads(output, scores, 1)
    np.matmul(scores, value, out=mixed)
    mixed /= normalizers
    return output


def attention_backward(grad_output: Array, kept: Attention, grad_together: Array, grad_scores: Array) -> None:
    """Write the gradients of query, key and value, as `scaled_dot_product_attention_backward`; overwrite `grad_output`.

    With weights p = e / normalizer, dividing dL/do by the normalizer lets e stand for p everywhere. The mean that
    softmax's backward takes off, sum_m p_im dL/dp_im, is dL/do_i · o_i, a shorter sum (T. Dao et al., FlashAttention,
    2022, appendix B).
    """
    together, exponentials, normalizers, output = kept
    query, key, value = _heads(together, exponentials, 3)
    grad_query, grad_key, grad_value = _heads(grad_together, exponentials, 3)
    (grad_mixed,), (mixed,) = _heads(grad_output, exponentials, 1), _heads(output, exponentials, 1)
    grad_mixed /= normalizers
    np.matmul(exponentials.swapaxes(2, 3), grad_mixed, out=grad_value)
    np.matmul(grad_mixed, value.swapaxes(2, 3), out=grad_scores)
    grad_scores -= np.einsum("nhtd,nhtd->nht", grad_mixed, mixed)[..., np.newaxis]
    grad_scores *= exponentials
    np.matmul(grad_scores, key, out=grad_query)
    grad_query *= 1 / math.sqrt(query.shape[3])
    np.matmul(grad_scores.swapaxes(2, 3), query, out=grad_key)


def _heads(rows: Array, scores: Array, parts: int) -> Array:
    """View rows (n · T, parts · D) as (parts, n, heads, T, D / heads)."""
    count, heads, length, _ = scores.shape
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
