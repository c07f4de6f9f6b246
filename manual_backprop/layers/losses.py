"""Losses: one number for a batch, computed from the network's outputs."""

import numpy as np

from manual_backprop.arrays import Array, Targets, shifted
from manual_backprop.layers.activations import softmax


def cross_entropy(logits: Array, targets: Targets) -> np.floating:
    """Return the mean over N of L_n = -sum_k y_nk log p_nk, with p = softmax(logits) (assignment 1.1, ``averageCE``).

    The report takes log(p), which is -inf where p underflows. Written in logits the same number is always finite:

        L_n = sum_k y_nk (log(sum_j exp(z_nj)) - z_nk)

    Parameters
    ----------
    logits : (N, K)
    targets : integer labels (N,), or rows of probabilities (N, K), one-hot rows included

    Raises
    ------
    ValueError
        If ``targets`` fits neither form or holds a label outside 0..K-1.
    """
    _check_targets(logits, targets)
    below_largest = shifted(logits)
    log_normalizer = np.log(np.exp(below_largest).sum(axis=1))
    if targets.ndim == 1:
        losses = log_normalizer - below_largest[np.arange(len(targets)), targets]
    else:
        losses = (targets * (log_normalizer[:, np.newaxis] - below_largest)).sum(axis=1)
    return losses.mean(dtype=logits.dtype)


def cross_entropy_backward(logits: Array, targets: Targets) -> Array:
    """Return dL/dlogits = (p - y) / N, with p = softmax(logits) (assignment 1.1, ``gradCE``).

    With dp_nj/dz_nk = p_nj ([j = k] - p_nk), the chain rule gives

        dL/dz_nk = -1/N sum_j y_nj/p_nj dp_nj/dz_nk = (p_nk sum_j y_nj - y_nk) / N

    and sum_j y_nj = 1. The 1/N of the mean enters the whole backpropagation here and nowhere else.

    Parameters
    ----------
    logits : (N, K)
    targets : as in ``cross_entropy``

    Returns
    -------
    (N, K)

    Raises
    ------
    ValueError
        As ``cross_entropy``.
    """
    _check_targets(logits, targets)
    probabilities = softmax(logits)
    if targets.ndim == 1:
        difference = probabilities
        difference[np.arange(len(targets)), targets] -= 1
    else:
        # rows of probabilities sum to 1 only up to rounding, and PyTorch accepts any rows
        difference = probabilities * targets.sum(axis=1, keepdims=True) - targets
    return (difference / len(logits)).astype(logits.dtype, copy=False)


def _check_targets(logits: Array, targets: Targets) -> None:
    count, classes = logits.shape
    if targets.shape == (count,) and np.issubdtype(targets.dtype, np.integer):
        wrong = (targets < 0) | (targets >= classes)
        if wrong.any():
            raise ValueError(f"targets: label {targets[wrong][0]} is outside 0..{classes - 1}")
    elif targets.shape != (count, classes):
        raise ValueError(
            f"targets: expected integer labels ({count},) or probabilities ({count}, {classes}), "
            f"got {targets.dtype} {targets.shape}"
        )
