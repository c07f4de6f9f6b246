"""Mistakes in the forward pass of one operation.

Each is tried in three ways: derived rightly, with the derivative as it was, and with the formula of the right
operation's derivative applied to the wrong result.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from torch_reference.checker.derivations.change import value
from torch_reference.checker.derivations.kinds.catalogue.names import dim
from torch_reference.checker.tape.replay import Local, first

Result = Callable[[Local], Tensor | None]


def left_out(local: Local) -> Tensor | None:
    """Is left out of the forward pass."""
    return local.operands[0] if len(local.operands) == 1 else None


def applied_twice(local: Local) -> Tensor | None:
    """Is applied twice in the forward pass."""
    return first(local.compute(first(local.compute(*local.operands)))) if len(local.operands) == 1 else None


def softmax_before(local: Local) -> Tensor | None:
    """Gets softmax of its input, though it applies softmax itself."""
    x = local.operands[0]
    return local.compute(torch.softmax(x, dim(local))) if local.step.name == "_log_softmax" else None


def applied_twice_derived_once(local: Local) -> Tensor | None:
    """Is applied twice in the forward pass, and its derivative once."""
    if len(local.operands) != 1:
        return None
    return local.compute(_straight(local.operands[0], first(local.compute(*local.operands))))


def softmax_before_derived_once(local: Local) -> Tensor | None:
    """Gets softmax of its input, though it applies softmax itself: softmax is applied twice, its derivative once."""
    x = local.operands[0]
    return local.compute(_straight(x, torch.softmax(x, dim(local)))) if local.step.name == "_log_softmax" else None


def bessel(local: Local) -> Tensor | None:
    """Divides by n - 1, where the reference divides by n (Bessel's correction)."""
    n = _counted(local)
    return None if n < 2 else local.compute(*local.operands) * (n / (n - 1))


def no_bessel(local: Local) -> Tensor | None:
    """Divides by n, where the reference divides by n - 1 (Bessel's correction)."""
    if local.step.place.call not in {"var", "std", "var_mean", "std_mean"} or local.step.name != "mul":
        return None
    return local.operands[0]


def sum_for_mean(local: Local) -> Tensor | None:
    """Is a sum, where the reference takes the mean."""
    n = _counted(local)
    return None if n < 2 else local.compute(*local.operands) * n


def epsilon_outside(local: Local) -> Tensor | None:
    """Takes the root first and adds epsilon then."""
    maker = local.replay.maker(local.step.inputs[0])
    args = maker.arguments(local.replay.values) if maker and maker.name == "add" else ()
    if len(args) < 2 or not isinstance(args[1], float) or local.step.name not in {"sqrt", "rsqrt", "pow"}:
        return None
    root = torch.sqrt(local.operands[0] - args[1]) + args[1]
    return root if local.step.name == "sqrt" else 1 / root


RESULTS: tuple[Result, ...] = (
    no_bessel,
    left_out,
    applied_twice_derived_once,
    softmax_before_derived_once,
    applied_twice,
    softmax_before,
    bessel,
    sum_for_mean,
    epsilon_outside,
)


def _straight(x: Tensor, other: Tensor) -> Tensor:
    """Return another value with the gradient of x."""
    return x + (other - x).detach()


def _counted(local: Local) -> int:
    """Return over how many entries a mean is taken; 0 for other operations."""
    return local.operands[0].numel() // max(1, value(local).numel()) if local.step.name == "mean" else 0
