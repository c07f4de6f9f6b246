"""What the check needs of PyTorch that PyTorch does not document, so that a new version breaks one file at most.

`pyproject.toml` names the versions that were tested, and a test asks each of them for every operator that the check
knows by name.
"""

import sys
from abc import abstractmethod
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import torch
from torch._decomp import decomposition_table
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

__all__ = [
    "DispatchMode",
    "TreeSpec",
    "arguments_of",
    "decomposition",
    "name_of",
    "outside_modes",
    "overload_of",
    "pure",
    "returns_of",
    "tree_flatten",
    "tree_unflatten",
    "uncompiled",
]
outside_modes = _disable_current_modes


class DispatchMode(TorchDispatchMode):
    """A mode that PyTorch's compiler leaves alone.

    PyTorch itself would load the compiler for that, which takes two seconds, even if nothing is ever compiled.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one operation; the mode itself does not see what that dispatches to."""
        call = _uncompiled if "torch._dynamo" in sys.modules else _dispatched
        return call(self, func, args, kwargs or {})

    @abstractmethod
    def run(self, operator: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run one operation and return its result."""


def _dispatched(mode: DispatchMode, operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return mode.run(operator, name_of(operator), args, kwargs)


_uncompiled = torch._disable_dynamo(_dispatched)  # type: ignore[attr-defined]


def uncompiled() -> AbstractContextManager[Any]:
    """Let functions that are compiled run as they are written: a mode has to see their operations one by one."""
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()


@cache  # asked for every operation of every evaluation
def name_of(operator: Any) -> str:
    """Return the name of an operator without its overload, one of PyTorch without its namespace too."""
    return str(operator._schema.name).removeprefix("aten::")


@cache
def returns_of(operator: Any) -> list[Any]:
    """Return for each result of an operator None if it is fresh, else an object with `is_write`."""
    return [returned.alias_info for returned in operator._schema.returns]


def decomposition(operator: Any) -> Any:
    """Return the function that computes an operator by smaller ones, or None."""
    return STEPS.get(operator) or decomposition_table.get(operator)


def _var_mean(x: torch.Tensor, dim: Any = None, *, correction: float | None = None, keepdim: bool = False) -> Any:
    """Return variance and mean."""
    mean = x.mean(dim, keepdim=True)
    centred = x - mean
    total = (centred * centred).sum(dim, keepdim=keepdim)
    count = x.numel() / max(1, mean.numel()) - (1 if correction is None else correction)
    return total / max(0, count), mean if keepdim else mean.reshape(total.shape)


def _layer_norm(
    x: torch.Tensor, shape: list[int], weight: torch.Tensor | None, bias: torch.Tensor | None, eps: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return (x - mean) * rstd * weight + bias, mean and rstd."""
    axes = list(range(x.dim() - len(shape), x.dim()))
    mean = x.mean(axes, keepdim=True)
    result = x - mean
    variance = (result * result).mean(axes, keepdim=True)
    rstd = torch.rsqrt(variance + eps)
    result.mul_(rstd)
    if weight is not None:
        result.mul_(weight)
    if bias is not None:
        result.add_(bias)
    return result, mean, rstd


def _softmax(x: torch.Tensor, dim: int, _: bool) -> torch.Tensor:
    """Return exp(x - max) over its sum."""
    if not x.numel():
        return x.clone()
    exponentials = torch.exp(x - x.amax(dim, keepdim=True))
    return exponentials / exponentials.sum(dim, keepdim=True)


def _log_softmax(x: torch.Tensor, dim: int, _: bool) -> torch.Tensor:
    """Return x - max less the logarithm of the sum of its exponentials."""
    if not x.numel():
        return x.clone()
    shifted = x - x.amax(dim, keepdim=True)
    return shifted - torch.exp(shifted).sum(dim, keepdim=True).log()


def _softmax_backward(gradient: torch.Tensor, output: torch.Tensor, dim: int, _: torch.dtype) -> torch.Tensor:
    """Return output * (gradient - sum(gradient * output))."""
    weighted = gradient * output
    return weighted - output * weighted.sum(dim, keepdim=True)


def _log_softmax_backward(gradient: torch.Tensor, output: torch.Tensor, dim: int, _: torch.dtype) -> torch.Tensor:
    """Return gradient - exp(output) * sum(gradient)."""
    return gradient - torch.exp(output) * gradient.sum(dim, keepdim=True)


# Ours take less time, and most of PyTorch's load packages for seconds.
STEPS = {
    torch.ops.aten.var_mean.correction: _var_mean,
    torch.ops.aten.native_layer_norm.default: _layer_norm,
    torch.ops.aten._softmax.default: _softmax,
    torch.ops.aten._log_softmax.default: _log_softmax,
    torch.ops.aten._softmax_backward_data.default: _softmax_backward,
    torch.ops.aten._log_softmax_backward_data.default: _log_softmax_backward,
}


def overload_of(operator: Any) -> str:
    """Return the name of an operator with its overload: var.correction."""
    return f"{name_of(operator)}.{operator._schema.overload_name}"


def arguments_of(operator: Any) -> list[str]:
    """Return the names of an operator's arguments."""
    return [argument.name for argument in operator._schema.arguments]


def pure(operator: Any) -> Any:
    """Return the operator that computes what one that works in place computes; the same if it does not."""
    if not operator._schema.is_mutable:
        return operator
    return getattr(
        getattr(torch.ops.aten, name_of(operator).removesuffix("_")), operator._schema.overload_name or "default"
    )
