"""Causal attention of a GPT for a block of sequences, forward and backward, into arrays that are made once.

R = n · T rows are tokens, one sequence after the other; a row has its heads side by side.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from manual_backprop.arrays import Array
from manual_backprop.fast.aligned import aligned_empty

# Of scores up to this, and rows with a score above its negative, neither exponentials nor sums leave float32's range.
LARGEST_SCORE = 80


class Attention(NamedTuple):
    """Arrays of an attention, or their gradients.

    Rows: `together` (R, 3D) has query, key and value beside each other, and `output` (R, D) the means of the values.
    `query`, `key` and `value` view the one, `mixed` views the other as (n, heads, T, D / heads). `weights`
    (n, heads, T, T) are the probabilities, as gradient that of the products of query and key.
    """

    together: Array
    output: Array
    query: Array
    key: Array
    value: Array
    mixed: Array
    weights: Array

    @classmethod
    def make(cls, count: int, length: int, heads: int, width: int, dtype: DTypeLike) -> "Attention":
        """Return arrays for so many sequences."""
        together = aligned_empty((count * length, 3 * width), dtype)
        output = aligned_empty((count * length, width), dtype)
        query, key, value, mixed = (
            rows.reshape(count, length, heads, -1).swapaxes(1, 2) for rows in (*np.split(together, 3, axis=1), output)
        )
        weights = aligned_empty((count, heads, length, length), dtype)
        return cls(together, output, query, key, value, mixed, weights)


class AttentionScratch(NamedTuple):
    """What attention writes over, the same for all layers.

    `turned` (n, heads, D / heads, T) takes keys or values, transposed: BLAS multiplies small matrices by those in half
    the time. `sums` is (n, heads, T, 1). `products` (R, D) takes products of rows, and `by_head` views them.
    """

    turned: Array
    sums: Array
    products: Array
    by_head: Array

    @classmethod
    def make(cls, count: int, length: int, heads: int, width: int, dtype: DTypeLike) -> "AttentionScratch":
        """Return arrays for so many sequences."""
        shapes = (count, heads, width // heads, length), (count, heads, length, 1), (count * length, width)
        turned, sums, products = (aligned_empty(shape, dtype) for shape in shapes)
        return cls(turned, sums, products, _by_head(products, count, heads))


def attention_forward(kept: Attention, mask: Array, scratch: AttentionScratch) -> Array:
    """Return means of the values, as `scaled_dot_product_attention` with `causal=True`.

    Parameters
    ----------
    kept : with query, key and value
    mask : (T, T), 0 where a query sees a key, -inf elsewhere
    scratch : overwritten
    """
    weights, turned, sums = kept.weights, scratch.turned, scratch.sums
    np.multiply(kept.key.swapaxes(2, 3), _scale(kept), out=turned)
    np.matmul(kept.query, turned, out=weights)
    weights += mask
    # the maximum of each row takes as long as all the rest, and is needed only where an exponential, or the sum of a
    # row, which has its diagonal in it, could leave the range of numbers
    if not (weights.max() < LARGEST_SCORE and weights.diagonal(axis1=2, axis2=3).min() > -LARGEST_SCORE):
        weights -= np.max(weights, axis=3, keepdims=True, out=sums)
    np.exp(weights, out=weights)
    weights /= np.matmul(weights, np.ones((weights.shape[3], 1), weights.dtype), out=sums)
    np.matmul(weights, kept.value, out=kept.mixed)
    return kept.output


def attention_backward(kept: Attention, grad: Attention, scratch: AttentionScratch) -> Array:
    """Return the gradients of query, key and value together, as `scaled_dot_product_attention_backward`.

    A row p of the weights takes p (dL/dp - dL/dp · p) to its scores. With dL/dp = V dL/do and o = pᵀ V, that product is
    dL/do · o, a sum over the entries of a head instead of over all keys.

    Source of the second form: T. Dao et al., FlashAttention, 2022, appendix B.2.

    Parameters
    ----------
    kept : what `attention_forward` left
    grad : with the gradient of the output; the others are written
    scratch : overwritten
    """
    turned, sums, products, by_head = scratch
    np.matmul(kept.weights.swapaxes(2, 3), grad.mixed, out=grad.value)
    np.multiply(kept.value.swapaxes(2, 3), _scale(kept), out=turned)
    np.multiply(grad.output, kept.output, out=products)
    grad_scores = np.matmul(grad.mixed, turned, out=grad.weights)
    grad_scores -= np.matmul(by_head, np.full((by_head.shape[3], 1), _scale(kept), by_head.dtype), out=sums)
    grad_scores *= kept.weights
    np.matmul(grad_scores, kept.key, out=grad.query)
    np.matmul(grad_scores.swapaxes(2, 3), kept.query, out=grad.key)
    return grad.together


def _scale(attention: Attention) -> float:
    """Return the factor of scores, and of their gradient: 1 / sqrt(D / heads)."""
    return 1 / math.sqrt(attention.query.shape[3])


def _by_head(rows: Array, count: int, heads: int) -> Array:
    """View rows (n · T, D) as (n, heads, T, D / heads)."""
    return rows.reshape(count, len(rows) // count, heads, -1).swapaxes(1, 2)
