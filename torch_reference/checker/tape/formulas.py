"""Composite operations written out, so that each path through them can be looked at: a line for each step.

The names are PyTorch's dispatched ones, and each formula returns what the operation returns, as far as gradients need
it. A message shows the line, so the names of variables are words.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def addmm(bias: Tensor, x: Tensor, weight: Tensor, *, beta: float = 1, alpha: float = 1) -> Any:
    """Matrix product plus bias."""
    if beta != 1 or alpha != 1:
        return NotImplemented
    product = x @ weight
    return product + bias


def baddbmm(bias: Tensor, x: Tensor, weight: Tensor, *, beta: float = 1, alpha: float = 1) -> Any:
    """Batched matrix product plus bias."""
    if beta != 1 or alpha != 1:
        return NotImplemented
    product = torch.bmm(x, weight)
    return product + bias


def convolution(x: Tensor, weight: Tensor, bias: Tensor | None, *args: Any) -> Any:
    """Convolution without bias, plus bias."""
    if bias is None:
        return NotImplemented
    product = torch.ops.aten.convolution(x, weight, None, *args)
    return product + bias.reshape(-1, *[1] * (x.dim() - 2))


def var(x: Tensor, dim: Any = None, *, correction: float | None = None, keepdim: bool = False) -> Any:
    """Mean square of what is left after the mean is taken away; `correction` is Bessel's."""
    dims = _dims(x, dim)
    count, less = _count(x, dims), 1 if correction is None else correction
    mean = x.mean(dims, keepdim=True)
    centred = x - mean
    variance = (centred * centred).mean(dims, keepdim=keepdim)
    return variance * (count / (count - less)) if less else variance


def std(x: Tensor, dim: Any = None, *, correction: float | None = None, keepdim: bool = False) -> Any:
    """Return the root of the variance."""
    variance = var(x, dim, correction=correction, keepdim=keepdim)
    return torch.sqrt(variance)


def var_mean(x: Tensor, dim: Any = None, *, correction: float | None = None, keepdim: bool = False) -> Any:
    """Variance and mean."""
    return var(x, dim, correction=correction, keepdim=keepdim), x.mean(_dims(x, dim), keepdim=keepdim)


def native_layer_norm(x: Tensor, shape: list[int], weight: Tensor | None, bias: Tensor | None, eps: float) -> Any:
    """Normalise over the last axes."""
    dims = list(range(x.dim() - len(shape), x.dim()))
    return _normalised(x, dims, weight, bias, eps)


def native_group_norm(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, n: int, c: int, size: int, groups: int, eps: float
) -> Any:
    """Normalise over the channels of a group and over space."""
    groups_apart = x.reshape(n, groups, -1)
    normalised, mean, deviation = _normalised(groups_apart, [2], None, None, eps)
    together = normalised.reshape(x.shape)
    shape = [1, c, *[1] * (x.dim() - 2)]
    out = together if weight is None else together * weight.reshape(shape)
    return out if bias is None else out + bias.reshape(shape), mean, deviation


def native_batch_norm(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
) -> Any:
    """Normalise over the batch and over space, by the batch's statistics or by running ones."""
    shape = [1, x.shape[1], *[1] * (x.dim() - 2)]
    gain = None if weight is None else weight.reshape(shape)
    shift = None if bias is None else bias.reshape(shape)
    if training or running_mean is None or running_var is None:
        return _normalised(x, [0, *range(2, x.dim())], gain, shift, eps)
    centred = x - running_mean.reshape(shape)
    deviation = torch.sqrt(running_var.reshape(shape) + eps)
    normalised = centred / deviation
    out = normalised if gain is None else normalised * gain
    return out if shift is None else out + shift, running_mean, running_var


def batch_norm_functional(x: Tensor, weight: Any, bias: Any, mean: Tensor, variance: Tensor, *args: Any) -> Any:
    """Return the same with the running statistics, which no gradient passes through."""
    return *native_batch_norm(x, weight, bias, mean, variance, *args), mean, variance


def batch_norm_no_stats(x: Tensor, weight: Any, bias: Any, training: bool, momentum: float, eps: float) -> Any:
    """Normalise by the batch's statistics alone."""
    return native_batch_norm(x, weight, bias, None, None, training, momentum, eps)


def _normalised(x: Tensor, dims: list[int], weight: Tensor | None, bias: Tensor | None, eps: float) -> Any:
    mean = x.mean(dims, keepdim=True)
    centred = x - mean
    variance = (centred * centred).mean(dims, keepdim=True)
    deviation = torch.sqrt(variance + eps)
    normalised = centred / deviation
    out = normalised if weight is None else normalised * weight
    return out if bias is None else out + bias, mean, 1 / deviation


def mse_loss(x: Tensor, target: Tensor, reduction: int = 1) -> Any:
    """Squares of differences."""
    difference = x - target
    squares = difference**2
    return reduced(squares, ("none", "mean", "sum")[reduction])


def silu(x: Tensor) -> Any:
    """X times sigmoid(x)."""
    gate = torch.sigmoid(x)
    return x * gate


def gelu(x: Tensor, *, approximate: str = "none") -> Any:
    """X times the normal distribution function at x."""
    if approximate == "tanh":
        inner = 0.7978845608028654 * (x + 0.044715 * x**3)
        gate = 0.5 * (1 + torch.tanh(inner))
    else:
        gate = torch.special.ndtr(x)
    return x * gate


def prelu(x: Tensor, weight: Tensor) -> Any:
    """X itself, times a weight where it is negative."""
    negative = weight * x
    return torch.where(x > 0, x, negative)


def glu(x: Tensor, dim: int = -1) -> Any:
    """First half times sigmoid of the second half."""
    half = x.shape[dim] // 2
    first, second = x.narrow(dim, 0, half), x.narrow(dim, half, half)
    gate = torch.sigmoid(second)
    return first * gate


def copy(target: Tensor, source: Tensor, non_blocking: bool = False) -> Any:
    """Return what stands in a slice after something was written into it."""
    return source.to(target.dtype).expand(target.shape).clone()


def _dims(x: Tensor, dim: Any) -> list[int]:
    dims = [dim] if isinstance(dim, int) else list(dim or [])
    return dims or list(range(x.dim()))


def _count(x: Tensor, dims: list[int]) -> int:
    return torch.Size([x.shape[dim] for dim in dims]).numel()


def reduced(losses: Tensor, reduction: str) -> Tensor:
    """Return the mean, the sum or all losses."""
    return losses.mean() if reduction == "mean" else losses.sum() if reduction == "sum" else losses


FORMULAS: dict[str, Callable[..., Any]] = {
    "copy": copy,
    "addmm": addmm,
    "baddbmm": baddbmm,
    "convolution": convolution,
    "var": var,
    "std": std,
    "var_mean": var_mean,
    "native_layer_norm": native_layer_norm,
    "native_group_norm": native_group_norm,
    "native_batch_norm": native_batch_norm,
    "_native_batch_norm_legit_functional": batch_norm_functional,
    "_native_batch_norm_legit": native_batch_norm,
    "_native_batch_norm_legit.no_stats": batch_norm_no_stats,
    "mse_loss": mse_loss,
    "silu": silu,
    "gelu": gelu,
    "glu": glu,
    "_prelu_kernel": prelu,
}
