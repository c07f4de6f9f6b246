"""Dropout: some entries are set to 0 at random, so that no unit can rely on another one alone."""

import numpy as np
from numpy.typing import NDArray

from manual_backprop.arrays import Array


def dropout(x: Array, keep: NDArray[np.bool_], p: float) -> Array:
    """Drop the entries where `keep` is False, and divide the others by 1 - p.

        y = keep · x / (1 - p)

    An entry is kept with probability 1 - p, so the expected value of y is x; at prediction nothing is left to do.

    Parameters
    ----------
    x : any shape
    keep : the shape of x; drawn by the caller, so that forward and backward use the same one
    p : probability of an entry to be dropped, from 0 to 1

    Raises
    ------
    ValueError
        If `keep` is not a bool array in the shape of `x`, or `p` is not a probability.

    Source: N. Srivastava et al., Dropout: a simple way to prevent neural networks from overfitting, 2014; divided by
    1 - p in training, as PyTorch does, not at prediction.
    """
    _check(x, keep, p)
    return np.divide(x, 1 - p, out=np.zeros_like(x), where=keep)


def dropout_backward(grad_output: Array, x: Array, keep: NDArray[np.bool_], p: float) -> Array:
    """Carry the gradient back through dropout: y is linear in x, with the same factor in both directions.

        dL/dx = dL/dy · keep / (1 - p)

    Parameters
    ----------
    grad_output, x, keep : the same shape
    p : as in `dropout`

    Raises
    ------
    ValueError
        As `dropout`.
    """
    _check(x, keep, p)
    return np.divide(grad_output, 1 - p, out=np.zeros_like(x), where=keep)


def _check(x: Array, keep: NDArray[np.bool_], p: float) -> None:
    if keep.dtype != np.bool_ or keep.shape != x.shape:
        raise ValueError(f"keep: expected bool {x.shape}, the shape of x, got {keep.dtype} {keep.shape}")
    if not 0 <= p <= 1:
        raise ValueError(f"p: expected a probability from 0 to 1, got {p}")
