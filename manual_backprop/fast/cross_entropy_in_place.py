"""Softmax, cross-entropy and their gradient for a block of rows, written into arrays that are made once."""

from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from manual_backprop.arrays import Array


class Softmax(NamedTuple):
    """The softmax of some rows, as exponentials and their sums, and the classes that would be right."""

    exponentials: Array
    """(K, N)"""
    normalizer: Array
    """(N,)"""
    labels: NDArray[np.integer]


class CrossEntropyInPlace:
    """`cross_entropy` and `cross_entropy_backward` of up to `rows` rows.

    The arrays have a column for each row of the block: few long rows are faster than many short ones.
    """

    def __init__(self, rows: int, classes: int, dtype: DTypeLike) -> None:
        self._shifted = np.zeros((classes, rows), dtype)
        self._exponentials = np.zeros((classes, rows), dtype)
        self._difference = np.zeros((classes, rows), dtype)
        self._row_maximum = np.zeros(rows, dtype)
        self._normalizer = np.zeros(rows, dtype)
        self._columns = np.arange(rows)
        self._lowest = np.finfo(dtype).min

    def forward(self, logits: Array, labels: NDArray[np.integer]) -> tuple[Array, Softmax]:
        """Return log(sum_j exp(z_nj)) - z_ny for each row, with z = logits - row maximum; and what `backward` takes.

        Parameters
        ----------
        logits : (N, K)
        labels : (N,), integers in 0..K-1
        """
        count = len(labels)
        shifted, exponentials = self._shifted[:, :count], self._exponentials[:, :count]
        maximum, normalizer = self._row_maximum[:count], self._normalizer[:count]
        np.copyto(shifted, logits.T)
        np.maximum.reduce(shifted, axis=0, out=maximum)
        shifted -= maximum
        np.maximum(shifted, self._lowest, out=shifted)
        np.exp(shifted, out=exponentials)
        np.add.reduce(exponentials, axis=0, out=normalizer)
        losses = np.log(normalizer) - shifted[labels, self._columns[:count]]
        return losses, Softmax(exponentials, normalizer, labels)

    def backward(self, softmax: Softmax, batch_size: int) -> Array:
        """Return (softmax(logits) - one_hot) / batch_size (N, K)."""
        count = len(softmax.labels)
        difference = self._difference[:, :count]
        np.divide(softmax.exponentials, softmax.normalizer, out=difference)
        difference[softmax.labels, self._columns[:count]] -= 1
        difference /= batch_size
        return difference.T
