"""Changes of the forward pass: the table of results, other axes, other functions."""

from collections.abc import Callable, Iterator
from functools import partial

from torch import Tensor

from torch_reference.checker.derivations.change import Change, NotApplicableError, every, exchanged, sentence, value
from torch_reference.checker.derivations.kinds.catalogue.names import ACTIVATIONS, ELEMENTWISE, SOFTMAX, dim
from torch_reference.checker.derivations.kinds.catalogue.results import RESULTS, Result
from torch_reference.checker.derivations.site import Site
from torch_reference.checker.reference.private import arguments_of
from torch_reference.checker.tape.replay import Local, Replay, first, own_backward


def changed_results(replay: Replay, site: Site) -> Iterator[Change]:
    """Yield all changes of the forward pass at one place."""
    local = replay.at(site.step)
    likely = 0.3 if site.step.name in SOFTMAX else 2.0  # softmax twice, or along the other axis, is a common mistake
    for number, entry in enumerate(RESULTS):
        yield from four_ways(site, sentence(entry), entry, likely + 0.01 * number)
    for k in range(len(local.operands) if len(local.operands) > 1 else 0):
        words = f"is left out of the forward pass: operand {k + 1} goes on alone"
        yield from four_ways(site, words, partial(_alone, k=k), 2.5)
    for axis in _axes(local):
        yield from four_ways(
            site, f"is taken along axis {axis}, not {dim(local)}", partial(_along, axis=axis), likely + 0.2
        )
    if site.step.name in ELEMENTWISE and len(local.operands) == 1:
        for name, function in ACTIVATIONS.items():
            yield from four_ways(site, f"{name} stands in its place", partial(_instead, function=function), 3.0)


def formula_left_out(site: Site) -> Iterator[Change]:
    """Yield a formula of several steps left out of the forward pass."""
    yield from four_ways(site, "this formula is left out of the forward pass", partial(_alone, k=0), 2.5)


def four_ways(site: Site, words: str, entry: Result, rank: float) -> Iterator[Change]:
    """Yield another result: derived rightly, with the right derivative or formula, and in the backward pass alone."""
    more = rank + (0.3 if rank < 1 else 0.0)  # what is likely is so as a whole
    yield Change("derivative", site, words, every(site, lambda local, _: _result(local, entry)), rank)
    alone = f"{words}, in the forward pass alone"
    yield Change("derivative", site, alone, every(site, lambda local, _: _value_alone(local, entry)), more + 0.3)
    formula = f"{words}, and the derivative follows the right formula at that result"
    yield Change("derivative", site, formula, every(site, lambda local, _: _same_formula(local, entry)), more + 0.4)
    back = f"{words}, in the backward pass alone"
    yield Change("derivative", site, back, every(site, lambda local, _: _derivative_alone(local, entry)), more + 0.5)


def _result(local: Local, entry: Result) -> Tensor:
    result = entry(local)
    if result is None:
        raise NotApplicableError
    return result


def _value_alone(local: Local, entry: Result) -> Tensor:
    right = first(local.compute(*local.operands))
    return _result(local, entry).detach() + (right - right.detach())


def _derivative_alone(local: Local, entry: Result) -> Tensor:
    other = _result(local, entry)
    return exchanged(value(local), other)


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
    names = arguments_of(local.step.func) if hasattr(local.step.func, "_schema") else []
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
