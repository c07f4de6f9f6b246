"""Functions of single entries, or of single rows, that stand between layers."""

import numpy as np

from manual_backprop.arrays import Array, shifted


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
    exponentials = np.exp(shifted(logits))
    return exponentials / exponentials.sum(axis=1, keepdims=True)
