"""Functions of single entries, or of single rows, that stand between layers.

A function of single entries has a derivative of single entries: dL/dx = dL/dy · f'(x). Each backward takes the
function's input x, not its output.
"""

import math
from typing import Literal

import numpy as np

from manual_backprop.arrays import Array, shifted
from manual_backprop.layers.gaussian import normal_density, normal_distribution

GeluForm = Literal["none", "tanh"]


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


def leaky_relu(x: Array, slope: float = 0.01) -> Array:
    """Return x where x > 0, and slope · x elsewhere."""
    return np.maximum(x, 0) + slope * np.minimum(x, 0)


def leaky_relu_backward(grad_output: Array, x: Array, slope: float = 0.01) -> Array:
    """Scale the gradient by 1 or by the slope.

        dL/dx = dL/dy · (1 where x > 0, slope elsewhere)

    At x = 0 every number between slope and 1 is a subgradient; slope is taken, as PyTorch does.
    """
    return np.where(x > 0, grad_output, slope * grad_output)


def sigmoid(x: Array) -> Array:
    """Return σ(x) = 1 / (1 + exp(-x)).

    For x < 0 the same number is exp(x) / (1 + exp(x)), so no exponential exceeds 1.
    """
    return np.exp(np.minimum(x, 0)) / (1 + np.exp(-np.abs(x)))


def sigmoid_backward(grad_output: Array, x: Array) -> Array:
    """Carry the gradient back through σ.

        dσ/dx = exp(-x) / (1 + exp(-x))² = σ(x) (1 - σ(x)) = σ(x) σ(-x)

    The last form loses nothing where σ(x) is nearly 1.
    """
    return grad_output * sigmoid(x) * sigmoid(-x)


def tanh(x: Array) -> Array:
    """Return tanh(x) = (exp(x) - exp(-x)) / (exp(x) + exp(-x))."""
    return np.tanh(x)


def tanh_backward(grad_output: Array, x: Array) -> Array:
    """Carry the gradient back through tanh = sinh / cosh.

    dtanh/dx = (cosh² - sinh²) / cosh² = 1 - tanh(x)²
    """
    return grad_output * (1 - tanh(x) ** 2)


def softplus(x: Array) -> Array:
    """Return log(1 + exp(x)) for x <= 20, and x itself above, as PyTorch does: there they differ by 2e-9 at most.

    Written as max(x, 0) + log(1 + exp(-|x|)), no exponential exceeds 1.
    """
    return np.where(x > 20, x, np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))))


def softplus_backward(grad_output: Array, x: Array) -> Array:
    """Carry the gradient back through softplus.

    dsoftplus/dx = exp(x) / (1 + exp(x)) = σ(x) for x <= 20, and 1 above
    """
    return np.where(x > 20, grad_output, grad_output * sigmoid(x))


def silu(x: Array) -> Array:
    """Return x σ(x)."""
    return x * sigmoid(x)


def silu_backward(grad_output: Array, x: Array) -> Array:
    """Carry the gradient back through x σ(x), by the product rule.

        dsilu/dx = σ(x) + x σ(x) σ(-x)

    Source: S. Elfwing et al., Sigmoid-weighted linear units for neural network function approximation, 2017.
    """
    return grad_output * sigmoid(x) * (1 + x * sigmoid(-x))


def gelu(x: Array, approximate: GeluForm = "none") -> Array:
    """Return x Φ(x), with Φ the distribution function of the standard normal distribution.

    `approximate="tanh"` takes (1 + tanh u) / 2 for Φ, with u = √(2/π) (x + 0.044715 x³). That is σ(2u), which loses
    nothing where tanh is nearly -1.

    Raises
    ------
    ValueError
        If `approximate` is neither "none" nor "tanh".

    Source: D. Hendrycks and K. Gimpel, Gaussian error linear units, 2016.
    """
    if _check_form(approximate) == "tanh":
        return x * sigmoid(2 * _tanh_argument(x))
    return x * normal_distribution(x)


def gelu_backward(grad_output: Array, x: Array, approximate: GeluForm = "none") -> Array:
    """Carry the gradient back through x Φ(x), by the product rule; Φ' is the density φ.

        dgelu/dx = Φ(x) + x φ(x)
        dgelu/dx = σ(2u) + x σ(2u) σ(-2u) 2 du/dx    du/dx = √(2/π) (1 + 3 · 0.044715 x²)    for the form with tanh

    Raises
    ------
    ValueError
        As `gelu`.
    """
    if _check_form(approximate) == "tanh":
        u = _tanh_argument(x)
        grad_u = math.sqrt(2 / math.pi) * (1 + 3 * 0.044715 * x**2)
        return grad_output * sigmoid(2 * u) * (1 + x * sigmoid(-2 * u) * 2 * grad_u)
    return grad_output * (normal_distribution(x) + x * normal_density(x))


def _check_form(approximate: str) -> str:
    if approximate not in ("none", "tanh"):
        raise ValueError(f"approximate: expected 'none' or 'tanh', got {approximate!r}")
    return approximate


def _tanh_argument(x: Array) -> Array:
    return math.sqrt(2 / math.pi) * (x + 0.044715 * x * x * x)  # x**3 would take a hundred times as long


def softmax(logits: Array) -> Array:
    """Return p_nk = exp(z_nk) / sum_j exp(z_nj), each row a probability distribution (assignment 1.1).

    Subtracting the row's maximum changes nothing, since it cancels, and keeps exp from overflowing.

    Parameters
    ----------
    logits : (N, K), or (..., K)

    Returns
    -------
    the same shape
    """
    exponentials = np.exp(shifted(logits))
    return exponentials / exponentials.sum(axis=-1, keepdims=True)


def softmax_backward(grad_output: Array, logits: Array) -> Array:
    """Carry the gradient back through softmax. Every p_nj depends on every z_nk of its row.

        dp_nj/dz_nk = p_nj ([j = k] - p_nk)
        dL/dz_nk = sum_j dL/dp_nj dp_nj/dz_nk = p_nk (dL/dp_nk - sum_j dL/dp_nj p_nj)

    Parameters
    ----------
    grad_output, logits : (N, K), or (..., K)
    """
    probabilities = softmax(logits)
    shared = (grad_output * probabilities).sum(axis=-1, keepdims=True)
    return probabilities * (grad_output - shared)


def log_softmax(x: Array) -> Array:
    """Return log p_nk = z_nk - log sum_j exp(z_nj), finite also where p underflows.

    Parameters
    ----------
    x : (N, K), or (..., K)
    """
    below_largest = shifted(x)
    return below_largest - np.log(np.exp(below_largest).sum(axis=-1, keepdims=True))


def log_softmax_backward(grad_output: Array, x: Array) -> Array:
    """Carry the gradient back through log softmax.

        dlog p_nj/dz_nk = [j = k] - p_nk
        dL/dz_nk = dL/dlog p_nk - p_nk sum_j dL/dlog p_nj

    Parameters
    ----------
    grad_output, x : (N, K), or (..., K)
    """
    return grad_output - softmax(x) * grad_output.sum(axis=-1, keepdims=True)
