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
        return cls(*(aligned_empty(shape, dtype) for shape in shapes))


class AttentionScratch(NamedTuple):
    """What attention writes over, the same for all layers.

    `turned` (n, heads, D / heads, T) takes keys or values, transposed: BLAS multiplies small matrices by those in half
    the time. The others are `sums` (n, heads, T, 1), `grad_weights` (n, heads, T, T) and `product` (R, D).
    """

    turned: Array
    sums: Array
    grad_weights: Array
    product: Array

    @classmethod
    def make(cls, count: int, length: int, heads: int, width: int, dtype: DTypeLike) -> "AttentionScratch":
        """Return arrays for so many sequences."""
        turned, sums = (count, heads, width // heads, length), (count, heads, length, 1)
        shapes = turned, sums, (count, heads, length, length), (count * length, width)
        return cls(*(aligned_empty(shape, dtype) for shape in shapes))


def attention_forward(kept: Attention, mask: Array, scratch: AttentionScratch) -> Array:
    """Return means of the values, as `scaled_dot_product_attention` with `causal=True`.

    Parameters
    ----------
    kept : with query, key and value
    mask : (T, T), 0 where a query sees a key, -inf elsewhere
    scratch : overwritten
    """
    together, weights, output = kept
    turned, sums = scratch.turned, scratch.sums
    query, key, value = _heads(together, weights, 3)
    _scale_queries(together, weights)
    np.copyto(turned, key.swapaxes(2, 3))
    np.matmul(query, turned, out=weights)
    weights += mask
    # the maximum of each row takes as long as all the rest, and is needed only where an exponential, or the sum of a
    # row, which has its diagonal in it, could leave the range of numbers
    if not (weights.max() < LARGEST_SCORE and weights.diagonal(axis1=2, axis2=3).min() > -LARGEST_SCORE):
        weights -= np.max(weights, axis=3, keepdims=True, out=sums)
    np.exp(weights, out=weights)
    weights /= np.matmul(weights, _ones(weights.shape[3], weights), out=sums)
    (mixed,) = _heads(output, weights, 1)
    np.matmul(weights, value, out=mixed)
    return output


def attention_backward(grad_output: Array, kept: Attention, grad_together: Array, scratch: AttentionScratch) -> None:
    """Write the gradients of query, key and value, as `scaled_dot_product_attention_backward`.

    A row p of the weights takes p (dL/dp - dL/dp · p) to its scores. With dL/dp = V dL/do and o = pᵀ V, that product is
    dL/do · o, a sum over the entries of a head instead of over all keys.

    Source of the second form: T. Dao et al., FlashAttention, 2022, appendix B.2.
    """
    turned, sums, grad_weights, product = scratch
    query, key, value = _heads(kept.together, kept.weights, 3)
    grad_query, grad_key, grad_value = _heads(grad_together, kept.weights, 3)
    (grad_mixed,) = _heads(grad_output, kept.weights, 1)
    np.matmul(kept.weights.swapaxes(2, 3), grad_mixed, out=grad_value)
    np.copyto(turned, value.swapaxes(2, 3))
    np.matmul(grad_mixed, turned, out=grad_weights)
    np.multiply(grad_output, kept.output, out=product)
    (products,) = _heads(product, kept.weights, 1)
    grad_weights -= np.matmul(products, _ones(products.shape[3], product), out=sums)
    grad_weights *= kept.weights
    np.matmul(grad_weights, key, out=grad_query)
    _scale_queries(grad_together, kept.weights)
    np.matmul(grad_weights.swapaxes(2, 3), query, out=grad_key)


def _scale_queries(together: Array, weights: Array) -> None:
    width = together.shape[1] // 3
    together[:, :width] *= 1 / math.sqrt(width // weights.shape[1])


def _ones(count: int, like: Array) -> Array:
    return np.ones((count, 1), like.dtype)


def _heads(rows: Array, weights: Array, parts: int) -> Array:
    """View rows (n · T, parts · D) as (parts, n, heads, T, D / heads)."""
    count, heads, length, _ = weights.shape
    return rows.reshape(count, length, parts, heads, -1).transpose(2, 0, 3, 1, 4)
