"""Losses: one number for a batch, computed from the network's outputs."""

import numpy as np

from manual_backprop.arrays import Array, Targets, shifted
from manual_backprop.layers.activations import sigmoid, softmax


def cross_entropy(logits: Array, targets: Targets) -> np.floating:
    """Return the mean over N of L_n = -sum_k y_nk log p_nk, with p = softmax(logits) (assignment 1.1, `averageCE`).

    The report takes log(p), which is -inf where p underflows. Written in logits the same number is always finite:

        L_n = sum_k y_nk (log(sum_j exp(z_nj)) - z_nk)

    Parameters
    ----------
    logits : (N, K)
    targets : integer labels (N,), or rows of probabilities (N, K), one-hot rows included

    Raises
    ------
    ValueError
        If `targets` fits neither form or holds a label outside 0..K-1.
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
    """Return dL/dlogits = (p - y) / N, with p = softmax(logits) (assignment 1.1, `gradCE`).

    With dp_nj/dz_nk = p_nj ([j = k] - p_nk), the chain rule gives

        dL/dz_nk = -1/N sum_j y_nj/p_nj dp_nj/dz_nk = (p_nk sum_j y_nj - y_nk) / N

    and sum_j y_nj = 1. The 1/N of the mean enters the whole backpropagation here and nowhere else.

    Parameters
    ----------
    logits : (N, K)
    targets : as in `cross_entropy`

    Returns
    -------
    (N, K)

    Raises
    ------
    ValueError
        As `cross_entropy`.
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


def mse_loss(x: Array, targets: Array) -> np.floating:
    """Return the mean over all M entries of (x_m - y_m)².

    Parameters
    ----------
    x, targets : the same shape

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    difference = x - _same_shape(targets, x)
    return (difference**2).mean(dtype=x.dtype)


def mse_loss_backward(x: Array, targets: Array) -> Array:
    """Return dL/dx.

        dL/dx_m = 2 (x_m - y_m) / M

    M counts all entries, not the rows. dL/dtargets is the negative of it.
    """
    difference = x - _same_shape(targets, x)
    return 2 * difference / difference.size


def binary_cross_entropy_with_logits(logits: Array, targets: Targets) -> np.floating:
    """Return the mean over all M entries of -y_m log p_m - (1 - y_m) log(1 - p_m), with p = σ(z).

    As -log p = log(1 + exp(-z)) and -log(1 - p) = z + log(1 + exp(-z)), an entry costs (1 - y) z + log(1 + exp(-z)).
    With log(1 + exp(-z)) = max(-z, 0) + log(1 + exp(-|z|)) nothing overflows:

        L_m = max(z_m, 0) - z_m y_m + log(1 + exp(-|z_m|))

    Parameters
    ----------
    logits : any shape
    targets : the same shape; 0 or 1, or probabilities

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    losses = np.maximum(logits, 0) - logits * _same_shape(targets, logits) + np.log1p(np.exp(-np.abs(logits)))
    return losses.mean(dtype=logits.dtype)


def binary_cross_entropy_with_logits_backward(logits: Array, targets: Targets) -> Array:
    """Return dL/dlogits.

    dL_m/dz_m = (1 - y_m) - exp(-z_m) / (1 + exp(-z_m)) = (1 - y_m) - (1 - p_m)
    dL/dz_m = (p_m - y_m) / M
    """
    difference = sigmoid(logits) - _same_shape(targets, logits)
    return difference / difference.size


def _same_shape(targets: Targets, x: Array) -> Array:
    if targets.shape != x.shape:
        raise ValueError(f"targets: expected {x.shape}, the shape of the first argument, got {targets.shape}")
    return targets.astype(x.dtype, copy=False)


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
