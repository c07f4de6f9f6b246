"""The functions of the network, each forward with its hand-derived backward directly below.

Notation, here and in docs/derivation.md: N examples, K classes, L the mean loss over the batch. ``grad_output``
is dL/d(output) of a function, in the output's shape; a backward turns it into dL/d(input), in the input's shape.
Every function works in the dtype that it is given and changes none of its arguments.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]
Targets = NDArray[np.integer] | Array


def linear(x: Array, weight: Array, bias: Array) -> Array:
    """Apply one layer: s = x W + b (assignment 1.1, ``computeLayer``).

    Parameters
    ----------
    x : (N, in)
    weight : (in, out)
    bias : (out,)

    Returns
    -------
    (N, out)
    """
    return x @ weight + bias


def linear_backward(grad_output: Array, x: Array, weight: Array) -> tuple[Array, Array, Array]:
    """Carry dL/ds back through s = x W + b (assignment 1.2).

    With s_nj = sum_i x_ni W_ij + b_j, the chain rule gives

        dL/dx_ni = sum_j dL/ds_nj W_ij      dL/dx = dL/ds Wᵀ
        dL/dW_ij = sum_n x_ni dL/ds_nj      dL/dW = xᵀ dL/ds
        dL/db_j  = sum_n dL/ds_nj           dL/db = the column sums of dL/ds

    Parameters
    ----------
    grad_output : (N, out)
    x : (N, in)
    weight : (in, out)

    Returns
    -------
    grad_x : (N, in)
    grad_weight : (in, out)
    grad_bias : (out,)
    """
    grad_x = grad_output @ weight.T
    grad_weight = x.T @ grad_output
    grad_bias = grad_output.sum(axis=0)
    return grad_x, grad_weight, grad_bias


def relu(x: Array) -> Array:
    """Return max(x, 0), entry by entry (assignment 1.1)."""
    return np.maximum(x, 0)


def relu_backward(grad_output: Array, x: Array) -> Array:
    """Carry the gradient back through relu: it passes where x > 0 and stops elsewhere.

        dL/dx = dL/drelu · [x > 0]

    At x = 0 any number from 0 to 1 is a subgradient; 0 is taken, as PyTorch does.

    Parameters
    ----------
    grad_output, x : the same shape; x is relu's input, not its output
    """
    return grad_output * (x > 0)


def softmax(logits: Array) -> Array:
    """Return p_nk = exp(z_nk) / sum_j exp(z_nj), each row a probability distribution (assignment 1.1).

    Subtracting the row's maximum changes nothing, since it cancels, and keeps exp from overflowing.

    Parameters
    ----------
    logits : (N, K)

    Returns
    -------
    (N, K)
    """
    exponentials = np.exp(_shifted(logits))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


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
    shifted = _shifted(logits)
    log_normalizer = np.log(np.exp(shifted).sum(axis=1))
    if targets.ndim == 1:
        losses = log_normalizer - shifted[np.arange(len(targets)), targets]
    else:
        losses = (targets * (log_normalizer[:, np.newaxis] - shifted)).sum(axis=1)
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


def _shifted(logits: Array) -> Array:
    """Return logits - row maximum. A difference below the smallest number stays there: 0 · (-inf) would be NaN."""
    with np.errstate(over="ignore"):
        difference = logits - logits.max(axis=1, keepdims=True)
    return np.maximum(difference, np.finfo(logits.dtype).min)


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
