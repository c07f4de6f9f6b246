"""The mistakes in the forward pass of one operation: small functions that return another result.

Each is tried in three ways: derived rightly, with the derivative as it was, and with the formula of the right
operation's derivative applied to the wrong result. To add a mistake, write a function and put it into `RESULTS`.
"""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from torch_reference.checker.derivations.catalogue import ACTIVATIONS, ELEMENTWISE, dim
from torch_reference.checker.derivations.change import Change, NotApplicableError, every, sentence, value
from torch_reference.checker.derivations.site import Site
from torch_reference.checker.reference.private import arguments_of
from torch_reference.checker.tape.replay import Local, Replay, first, own_backward

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


def mean_for_sum(local: Local) -> Tensor | None:
    """Is a mean, where the reference takes the sum."""
    if local.step.name != "sum":
        return None
    result = local.compute(*local.operands)
    return result * (result.numel() / local.operands[0].numel())


def epsilon_outside(local: Local) -> Tensor | None:
    """Takes the root first and adds epsilon then."""
    maker = next((step for step in local.replay.tape.steps if step.outputs == tuple(local.step.inputs)), None)
    args = maker.arguments(local.replay.values) if maker and maker.name == "add" else ()
    if len(args) < 2 or not isinstance(args[1], float) or local.step.name not in {"sqrt", "rsqrt", "pow"}:
        return None
    root = torch.sqrt(local.operands[0] - args[1]) + args[1]
    return root if local.step.name == "sqrt" else 1 / root


RESULTS: tuple[Result, ...] = (
    left_out,
    applied_twice_derived_once,
    softmax_before_derived_once,
    applied_twice,
    softmax_before,
    bessel,
    no_bessel,
    sum_for_mean,
    mean_for_sum,
    epsilon_outside,
)


def changed_results(replay: Replay, site: Site) -> Iterator[Change]:
    """Yield all changes of the forward pass at one place."""
    local = replay.at(site.step.number)
    for number, entry in enumerate(RESULTS):
        yield from _three_ways(site, sentence(entry), entry, 2.0 + 0.01 * number)
    for k in range(len(local.operands) if len(local.operands) > 1 else 0):
        words = f"is left out of the forward pass: operand {k + 1} goes on alone"
        yield from _three_ways(site, words, partial(_alone, k=k), 2.5)
    for axis in _axes(local):
        yield from _three_ways(site, f"is taken along axis {axis}, not {dim(local)}", partial(_along, axis=axis), 2.2)
    if site.step.name in ELEMENTWISE and len(local.operands) == 1:
        for name, function in ACTIVATIONS.items():
            yield from _three_ways(site, f"{name} stands in its place", partial(_instead, function=function), 3.0)


def _three_ways(site: Site, words: str, entry: Result, rank: float) -> Iterator[Change]:
    yield Change("derivative", site, words, every(site, lambda local, _: _result(local, entry)), rank)
    alone = f"{words}, in the forward pass alone"
    yield Change("derivative", site, alone, every(site, lambda local, _: _value_alone(local, entry)), rank + 0.3)
    formula = f"{words}, and the derivative follows the right formula at that result"
    yield Change("derivative", site, formula, every(site, lambda local, _: _same_formula(local, entry)), rank + 0.4)


def _result(local: Local, entry: Result) -> Tensor:
    result = entry(local)
    if result is None:
        raise NotApplicableError
    return result


def _value_alone(local: Local, entry: Result) -> Tensor:
    right = first(local.compute(*local.operands))
    return _result(local, entry).detach() + (right - right.detach())


def _same_formula(local: Local, entry: Result) -> object:
    other, right = _result(local, entry).detach(), value(local)
    places = [
        place for place, saved in enumerate(local.saved()) if saved.shape == right.shape and (saved == right).all()
    ]
    if not places or other.shape != right.shape:
        raise NotApplicableError
    return own_backward(local, lambda grad: local.vjp(grad, {places[-1]: other}), other)


def _alone(local: Local, k: int) -> Tensor | None:
    return local.operands[k]


def _instead(local: Local, function: Callable[[Tensor], Tensor]) -> Tensor:
    return function(local.operands[0])


def _axes(local: Local) -> list[int]:
    names = arguments_of(local.step.func)
    if len(local.operands) != 1 or len(names) < 2 or names[1] != "dim" or len(local.step.arguments(local.values)) < 2:
        return []
    axis = local.step.arguments(local.values)[1]
    if not isinstance(axis, int) and (not isinstance(axis, list) or len(axis) != 1):
        return []
    return [other for other in range(local.operands[0].dim()) if other != dim(local)]


def _along(local: Local, axis: int) -> Tensor:
    """Return the operation along another axis, which stays as an axis of length one where it is summed over."""
    names = arguments_of(local.step.func)
    args = list(local.step.arguments(local.values))
    args[1] = [axis] if isinstance(args[1], list) else axis
    if "keepdim" in names:
        args[2:3] = [True]
    return local.step.func(*args)


def _straight(x: Tensor, other: Tensor) -> Tensor:
    """Return another value with the gradient of x."""
    return x + (other - x).detach()


def _counted(local: Local) -> int:
    """Return over how many entries a mean is taken; 0 for other operations."""
    return local.operands[0].numel() // max(1, value(local).numel()) if local.step.name == "mean" else 0
