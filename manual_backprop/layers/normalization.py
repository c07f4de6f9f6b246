"""Normalisation: subtract the mean, divide by the deviation, then scale and shift with learned numbers.

Batch, layer and group normalisation differ in one thing only: over which axes mean and variance are taken. So the
derivative through mean and variance stands once, in `normalize_backward`.
"""

import numpy as np

from manual_backprop.arrays import Array

Axes = tuple[int, ...]


def normalize(x: Array, axes: Axes, eps: float) -> tuple[Array, Array]:
    """Return x̂ = (x - μ) r and r = 1/√(v + eps), with μ and v the mean and variance over the axes.

        μ = 1/m sum_k x_k        v = 1/m sum_k (x_k - μ)²        over the m numbers of a group

    The variance is the biased one, and eps stands inside the root, as in PyTorch. It is taken from x - μ: the shorter
    mean(x²) - μ² cancels where μ is large. There μ is itself rounded too, so the mean of what is left is subtracted.
    """
    centred = x - x.mean(axis=axes, keepdims=True)
    centred -= centred.mean(axis=axes, keepdims=True)
    inverse_deviation = 1 / np.sqrt((centred**2).mean(axis=axes, keepdims=True) + eps)
    return centred * inverse_deviation, inverse_deviation


def normalize_backward(grad_output: Array, normalized: Array, inverse_deviation: Array, axes: Axes) -> Array:
    """Carry dL/dx̂ back to x, which acts on every x̂ of its group: directly, through μ and through v.

        dx̂_j/dx_k = r ([j = k] - 1/m - x̂_j x̂_k / m)
        dL/dx_k = r (dL/dx̂_k - 1/m sum_j dL/dx̂_j - x̂_k 1/m sum_j dL/dx̂_j x̂_j)

    The first mean is the way through μ, the second the way through v.
    """
    mean = grad_output.mean(axis=axes, keepdims=True)
    correlation = (grad_output * normalized).mean(axis=axes, keepdims=True)
    return inverse_deviation * (grad_output - mean - normalized * correlation)


def batch_norm(x: Array, weight: Array, bias: Array, eps: float = 1e-5) -> Array:
    """Normalise each channel over the batch and all pixels: y = x̂ γ + β.

    Parameters
    ----------
    x : (N, C) or (N, C, H, W)
    weight, bias : (C,), γ and β

    Raises
    ------
    ValueError
        If the shapes do not fit together.
    """
    _check_channels("batch_norm", x, weight, bias)
    normalized, _ = normalize(x, _all_but_channels(x), eps)
    return normalized * _per_channel(weight, x) + _per_channel(bias, x)


def batch_norm_backward(grad_output: Array, x: Array, weight: Array, eps: float = 1e-5) -> tuple[Array, Array, Array]:
    """Carry dL/dy back through y = x̂ γ + β and through the statistics of the batch.

        dL/dx̂ = dL/dy γ, from there to x as `normalize_backward`
        dL/dγ_c = sum of dL/dy x̂, dL/dβ_c = sum of dL/dy, over examples and pixels of channel c

    Returns
    -------
    grad_x, grad_weight, grad_bias
    """
    axes = _all_but_channels(x)
    normalized, inverse_deviation = normalize(x, axes, eps)
    grad_x = normalize_backward(grad_output * _per_channel(weight, x), normalized, inverse_deviation, axes)
    grad_weight = (grad_output * normalized).sum(axis=axes)
    grad_bias = grad_output.sum(axis=axes)
    return grad_x, grad_weight, grad_bias


def batch_norm_inference(
    x: Array, running_mean: Array, running_var: Array, weight: Array, bias: Array, eps: float = 1e-5
) -> Array:
    """Normalise with statistics kept from training: y = (x - μ) / √(v + eps) γ + β, with constants μ and v.

    Parameters
    ----------
    x : (N, C) or (N, C, H, W)
    running_mean, running_var, weight, bias : (C,)
    """
    _check_channels("batch_norm_inference", x, running_mean, running_var, weight, bias)
    scale = weight / np.sqrt(running_var + eps)
    return (x - _per_channel(running_mean, x)) * _per_channel(scale, x) + _per_channel(bias, x)


def batch_norm_inference_backward(
    grad_output: Array, x: Array, running_mean: Array, running_var: Array, weight: Array, eps: float = 1e-5
) -> tuple[Array, Array, Array]:
    """Carry dL/dy back where μ and v are constants: x acts on its own y only.

        dL/dx = dL/dy γ / √(v + eps)
        dL/dγ_c = sum of dL/dy (x - μ) / √(v + eps), dL/dβ_c = sum of dL/dy, over examples and pixels of channel c

    Returns
    -------
    grad_x, grad_weight, grad_bias
    """
    axes = _all_but_channels(x)
    inverse_deviation = 1 / np.sqrt(running_var + eps)
    normalized = (x - _per_channel(running_mean, x)) * _per_channel(inverse_deviation, x)
    grad_x = grad_output * _per_channel(weight * inverse_deviation, x)
    grad_weight = (grad_output * normalized).sum(axis=axes)
    grad_bias = grad_output.sum(axis=axes)
    return grad_x, grad_weight, grad_bias


def layer_norm(x: Array, weight: Array, bias: Array, eps: float = 1e-5) -> Array:
    """Normalise each row over its D features: y = x̂ γ + β.

    Parameters
    ----------
    x : (..., D)
    weight, bias : (D,), γ and β

    Raises
    ------
    ValueError
        If the shapes do not fit together.
    """
    _check_features("layer_norm", x, weight, bias)
    normalized, _ = normalize(x, (-1,), eps)
    return normalized * weight + bias


def layer_norm_backward(grad_output: Array, x: Array, weight: Array, eps: float = 1e-5) -> tuple[Array, Array, Array]:
    """Carry dL/dy back through y = x̂ γ + β and through the statistics of each row.

        dL/dx̂ = dL/dy γ, from there to x as `normalize_backward`
        dL/dγ_d = sum of dL/dy x̂, dL/dβ_d = sum of dL/dy, over all rows

    Returns
    -------
    grad_x, grad_weight, grad_bias
    """
    rows = tuple(range(x.ndim - 1))
    normalized, inverse_deviation = normalize(x, (-1,), eps)
    grad_x = normalize_backward(grad_output * weight, normalized, inverse_deviation, (-1,))
    grad_weight = (grad_output * normalized).sum(axis=rows)
    grad_bias = grad_output.sum(axis=rows)
    return grad_x, grad_weight, grad_bias


def rms_norm(x: Array, weight: Array, eps: float = 1e-6) -> Array:
    """Divide each row by the root of its mean square: y = x r γ, with r = 1/√(1/D sum_d x_d² + eps).

    Parameters
    ----------
    x : (..., D)
    weight : (D,), γ

    Source: B. Zhang and R. Sennrich, Root mean square layer normalization, 2019.
    """
    _check_features("rms_norm", x, weight)
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + eps) * weight


def rms_norm_backward(grad_output: Array, x: Array, weight: Array, eps: float = 1e-6) -> tuple[Array, Array]:
    """Carry dL/dy back through y = x̂ γ with x̂ = x r. Nothing is centred, so one mean is left of the two.

        dx̂_j/dx_k = r ([j = k] - x̂_j x̂_k / D)
        dL/dx_k = r (g_k - x̂_k 1/D sum_j g_j x̂_j), with g = dL/dy γ
        dL/dγ_d = sum of dL/dy x̂ over all rows

    Returns
    -------
    grad_x, grad_weight
    """
    inverse_root = 1 / np.sqrt((x**2).mean(axis=-1, keepdims=True) + eps)
    normalized = x * inverse_root
    grad_normalized = grad_output * weight
    correlation = (grad_normalized * normalized).mean(axis=-1, keepdims=True)
    grad_x = inverse_root * (grad_normalized - normalized * correlation)
    grad_weight = (grad_output * normalized).sum(axis=tuple(range(x.ndim - 1)))
    return grad_x, grad_weight


def group_norm(x: Array, groups: int, weight: Array, bias: Array, eps: float = 1e-5) -> Array:
    """Normalise the channels of an example in groups, over all pixels: y = x̂ γ + β.

    Parameters
    ----------
    x : (N, C, ...)
    groups : divides C; a group is C / groups channels that stand next to each other
    weight, bias : (C,), γ and β

    Raises
    ------
    ValueError
        If the shapes do not fit together, or groups does not divide C.

    Source: Y. Wu and K. He, Group normalization, 2018.
    """
    _check_channels("group_norm", x, weight, bias)
    normalized, _ = normalize(_grouped(x, groups), (-1,), eps)
    return normalized.reshape(x.shape) * _per_channel(weight, x) + _per_channel(bias, x)


def group_norm_backward(
    grad_output: Array, x: Array, groups: int, weight: Array, eps: float = 1e-5
) -> tuple[Array, Array, Array]:
    """Carry dL/dy back through y = x̂ γ + β and through the statistics of each group.

        dL/dx̂ = dL/dy γ, from there to x as `normalize_backward`
        dL/dγ_c = sum of dL/dy x̂, dL/dβ_c = sum of dL/dy, over examples and pixels of channel c

    Returns
    -------
    grad_x, grad_weight, grad_bias
    """
    axes = _all_but_channels(x)
    normalized, inverse_deviation = normalize(_grouped(x, groups), (-1,), eps)
    grad_normalized = _grouped(grad_output * _per_channel(weight, x), groups)
    grad_x = normalize_backward(grad_normalized, normalized, inverse_deviation, (-1,)).reshape(x.shape)
    grad_weight = (grad_output * normalized.reshape(x.shape)).sum(axis=axes)
    grad_bias = grad_output.sum(axis=axes)
    return grad_x, grad_weight, grad_bias


def _all_but_channels(x: Array) -> Axes:
    return (0, *range(2, x.ndim))


def _per_channel(values: Array, x: Array) -> Array:
    """Return (C,) as (C, 1, 1) for images, so that it meets their channels."""
    return values.reshape(-1, *(1,) * (x.ndim - 2))


def _grouped(x: Array, groups: int) -> Array:
    if groups < 1 or x.shape[1] % groups:
        raise ValueError(f"groups: expected a divisor of {x.shape[1]} channels, got {groups}")
    return x.reshape(len(x), groups, -1)


def _check_channels(layer: str, x: Array, *values: Array) -> None:
    if x.ndim < 2 or any(value.shape != x.shape[1:2] for value in values):
        shapes = ", ".join(str(value.shape) for value in values)
        raise ValueError(f"{layer}: x {x.shape} needs one number for each channel (its second axis), got {shapes}")


def _check_features(layer: str, x: Array, *values: Array) -> None:
    if any(value.shape != x.shape[-1:] for value in values):
        shapes = ", ".join(str(value.shape) for value in values)
        raise ValueError(f"{layer}: x {x.shape} needs one number for each feature (its last axis), got {shapes}")
