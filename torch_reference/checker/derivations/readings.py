"""The mistakes of taking another array: what a derivative reads, or the gradient that it is multiplied by."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import combinations

import torch
from torch import Tensor

from torch_reference.checker.derivations.catalogue.names import ACTIVATIONS, DERIVED, ELEMENTWISE, FORMS, HINGES
from torch_reference.checker.derivations.catalogue.slopes import SLOPES, Slope
from torch_reference.checker.derivations.change import (
    Change,
    NotApplicableError,
    flowing,
    passing,
    sentence,
    value,
    which,
)
from torch_reference.checker.derivations.site import VIEWS, Site, described
from torch_reference.checker.tape.replay import Local, Replay, Rule
from torch_reference.checker.tape.steps import Step

Reading = Callable[[Local, Tensor, Tensor, float], Tensor]


def other_slopes(replay: Replay, site: Site) -> Iterator[Change]:
    """Yield the mistakes of the catalogue, and the derivatives of other functions."""
    local = replay.at(site.step.number)
    for number, entry in enumerate(SLOPES):
        for k in flowing(local):
            words = sentence(entry) + which(local, k)
            rank = (
                0.05 * number + (0.0 if site.step.name in DERIVED else 0.6) + (0.4 if len(local.operands) > 1 else 0.0)
            )
            yield Change("derivative", site, words, _sloped(site, entry, k), rank)
    if site.step.name not in ELEMENTWISE or len(local.operands) != 1:
        return
    if site.step.name in HINGES:
        words = "its derivative ({right}) is {share} where its input is negative"
        leak = passing(site, _leaking)
        yield Change("derivative", site, words, leak, 0.9, fitted=True)
    for name, form in FORMS.items():
        for letter, words in (("y", "with its result y"), ("x", "with its input x")):
            formed = partial(_formed, form, letter)
            said = f"{name.format(letter, letter)}, {words}, stands where its derivative ({{right}}) belongs"
            yield Change("derivative", site, said, passing(site, formed), 1.3)
    for name, function in ACTIVATIONS.items():
        said = f"the derivative of {name} stands where its own ({{right}}) belongs"
        yield Change("derivative", site, said, passing(site, partial(_of_another, function)), 1.4)


def other_readings(replay: Replay, site: Site) -> Iterator[Change]:
    """Yield derivatives that are taken at another array than the one they belong to."""
    local = replay.at(site.step.number)
    if not flowing(local):
        return
    kept = local.saved()
    for position, saved in enumerate(kept):
        if not saved.is_floating_point() or not saved.dim():
            continue
        right = _which(replay, local, saved)
        for words, other, rank, fitted in _others(replay, site, saved):
            rules = passing(site, partial(_reading_saved, position, other))
            said = f"its derivative ({{right}}) reads {words}{right}"
            yield Change("derivative", site, said, rules, rank, fitted=fitted)
    for k in flowing(local):
        if any(_same(local.operands[k], saved) for saved in kept) or not local.operands[k].dim():
            continue
        for words, other, rank, fitted in _others(replay, site, local.operands[k]):
            rules = passing(site, partial(_reading_operand, k, other))
            said = f"its derivative ({{right}}) is taken at {words}, not at its input"
            yield Change("derivative", site, said, rules, rank + 0.1, fitted=fitted)


def _leaking(local: Local, grad: Tensor, share: float) -> list[Tensor]:
    return [torch.where(local.operands[0] > 0, grad, share * grad)]


def candidates(replay: Replay, site: Site) -> list[int]:
    """Return the floating values that may be taken by mistake: of a loop those of its first two turns."""
    turns: dict[object, int] = {}
    found = list(replay.tape.leaves.values())
    for step in replay.tape.steps:
        turns[step.name, step.place] = turn = turns.get((step.name, step.place), 0) + 1
        if step.name not in VIEWS and turn <= (2 if len(site.group) > 1 else 1):
            found += [number for number in step.outputs if replay.values[number].is_floating_point()]
    return found


def _sloped(site: Site, entry: Slope, k: int) -> Callable[[float], dict[int, Rule]]:
    def backward(local: Local, grad: Tensor, _: float) -> list[Tensor]:
        passed, own = local.vjp(grad), entry(local, grad, k)
        if own is None:
            raise NotApplicableError
        return [own if place == k else right for place, right in enumerate(passed)]

    return passing(site, backward)


def _formed(form: Callable[[Tensor], Tensor], letter: str, local: Local, grad: Tensor, _: float) -> list[Tensor]:
    return [grad * form(value(local) if letter == "y" else local.operands[0].detach())]


def _of_another(function: Callable[[Tensor], Tensor], local: Local, grad: Tensor, _: float) -> list[Tensor]:
    x = local.operands[0].detach().requires_grad_()
    with torch.enable_grad():
        return [torch.autograd.grad(function(x), x, grad)[0]]


def _reading_saved(position: int, other: Reading, local: Local, grad: Tensor, share: float) -> list[Tensor]:
    saved = local.saved()[position]
    return local.vjp(grad, {position: _fitting(other(local, saved, grad, share), saved)})


def _reading_operand(k: int, other: Reading, local: Local, grad: Tensor, share: float) -> list[Tensor]:
    operand = local.operands[k].detach()
    return local.vjp(grad, at={k: _fitting(other(local, operand, grad, share), operand)})


def _fitting(other: Tensor, own: Tensor) -> Tensor:
    if other.shape != own.shape:
        raise NotApplicableError
    return other.detach()


def _others(replay: Replay, site: Site, saved: Tensor) -> Iterator[tuple[str, Reading, float, bool]]:
    """Yield words, what is read, rank and whether it holds a number to be fitted."""
    yield "the gradient that comes from the loss", _upstream, 0.9, False
    for one, two in combinations(range(saved.dim()), 2):
        if saved.shape[one] == saved.shape[two]:
            words = "the transpose" if saved.dim() == 2 else f"axes {one} and {two} swapped"
            rank = 0.8 if (one, two) == (saved.dim() - 2, saved.dim() - 1) else 1.2
            yield words, partial(_swapped, one, two), rank, False
    if saved.dim() >= 2:
        yield "both last axes flipped", _flipped, 1.4, False
    for name, function in ACTIVATIONS.items():
        yield f"{name} of it", partial(_applied, function), 2.4, False
    for name, number in replay.tape.leaves.items():
        if (
            replay.values[number].shape == saved.shape
            and number in replay.upstream
            and _same(replay.values[number], saved)
        ):
            words = f"{name} - {{share}} * its gradient (an updated {name})"
            yield words, partial(_updated, number), 1.0, True
    for number in candidates(replay, site):
        other = replay.values[number]
        if not _same(other, saved):
            rank = 0.7 + 0.02 * far(replay, site, number)
            words = described(replay, number)
            if other.shape == saved.shape:
                yield words, partial(_value, replay, site, number), rank, False
            if other.dim() >= 2 and other.mT.shape == saved.shape:
                yield f"{words}, transposed", partial(_transposed, replay, site, number), rank + 0.3, False


def _upstream(local: Local, saved: Tensor, grad: Tensor, _: float) -> Tensor:
    return grad


def _flipped(local: Local, saved: Tensor, grad: Tensor, _: float) -> Tensor:
    return saved.flip(-1, -2)


def _swapped(one: int, two: int, local: Local, saved: Tensor, grad: Tensor, _: float) -> Tensor:
    return saved.swapaxes(one, two)


def _applied(function: Callable[[Tensor], Tensor], local: Local, saved: Tensor, grad: Tensor, _: float) -> Tensor:
    return function(saved)


def _updated(number: int, local: Local, saved: Tensor, grad: Tensor, rate: float) -> Tensor:
    return saved - rate * local.replay.upstream[number]


def _value(replay: Replay, site: Site, number: int, local: Local, saved: Tensor, grad: Tensor, _: float) -> Tensor:
    return local.replay.values[aligned(replay, site, number, local)]


def _transposed(replay: Replay, site: Site, number: int, local: Local, saved: Tensor, grad: Tensor, _: float) -> Tensor:
    return local.replay.values[aligned(replay, site, number, local)].mT


def aligned(replay: Replay, site: Site, number: int, local: Local) -> int:
    """Return the value of the same turn of a loop as a step, where `number` is that of the site's first step."""
    turn = [step.number for step in site.group].index(local.step.number)
    maker = _maker(replay, number)
    if turn == 0 or len(site.group) == 1 or maker is None:
        return number
    turns = [step for step in replay.tape.steps if (step.name, step.place) == (maker.name, maker.place)]
    start = turns.index(maker)
    if len(turns) == 1:
        return number
    if start + turn >= len(turns):
        raise NotApplicableError
    return turns[start + turn].outputs[maker.outputs.index(number)]


def _which(replay: Replay, local: Local, saved: Tensor) -> str:
    """Say what the derivative should have read."""
    for number in local.step.inputs:
        if _same(replay.values[number], saved):
            return f", not {described(replay, number)}"
    return ", not its result"


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and one.data_ptr() == other.data_ptr() and one.stride() == other.stride()


def _maker(replay: Replay, number: int) -> Step | None:
    return next((step for step in replay.tape.steps if number in step.outputs), None)


def far(replay: Replay, site: Site, number: int) -> int:
    """Return how many steps lie between a value and a place."""
    maker = _maker(replay, number)
    return abs((maker.number if maker else site.step.number - 3) - site.step.number)
