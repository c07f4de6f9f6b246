"""The mistakes of taking another array: what a derivative reads."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import combinations

from torch import Tensor

from torch_reference.checker.derivations.change import (
    Change,
    NotApplicableError,
    derived,
    every,
    exchanged,
    flowing,
    value,
)
from torch_reference.checker.derivations.kinds.catalogue.names import ACTIVATIONS, HINGES, SOFTMAX
from torch_reference.checker.derivations.kinds.sources import Source, carried, sources
from torch_reference.checker.derivations.site import Site, described
from torch_reference.checker.tape.replay import Local, Replay, first
from torch_reference.checker.tape.steps import Step

Reading = Callable[[Local, Tensor, Tensor, float], Tensor]


def other_readings(replay: Replay, site: Site) -> Iterator[Change]:
    """Yield derivatives that are taken at another array than the one they belong to."""
    local = replay.at(site.step)
    if not flowing(local):
        return
    kept = local.saved()
    found = sources(replay, site)
    masked = _masked(replay, site.step)
    if masked is not None:
        words = f"its derivative is taken without the mask, at {described(replay, masked)}"
        yield Change("derivative", site, words, every(site, partial(_without_mask, masked)), 0.7)
    for position, saved in enumerate(kept):
        if not saved.is_floating_point() or not saved.dim():
            continue
        right = _which(replay, site, local, saved)
        for words, other, rank, fitted in (*_others(replay, site, saved, found), *_shifted(replay, site, saved)):
            said = f"its derivative ({{right}}) reads {words}{right}"
            yield derived(site, said, partial(_reading_saved, position, other), rank, fitted)
    for k in flowing(local):
        if any(_same(local.operands[k], saved) for saved in kept) or not local.operands[k].dim():
            continue
        for words, other, rank, fitted in _others(replay, site, local.operands[k], found):
            said = f"its derivative ({{right}}) is taken at {words}, not at its input"
            yield derived(site, said, partial(_reading_operand, k, other), rank + 0.1, fitted)


def _masked(replay: Replay, step: Step) -> int | None:
    """Return the scores that a mask hides from softmax."""
    maker = replay.maker(step.inputs[0]) if step.name in SOFTMAX else None
    if maker is None or maker.name not in {"masked_fill", "where", "add"}:
        return None
    return next((number for number in maker.inputs if replay.values[number].requires_grad), None)


def _without_mask(scores: int, local: Local, _: float) -> Tensor:
    return exchanged(value(local), first(local.compute(local.replay.values[scores])))


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


def _others(
    replay: Replay, site: Site, saved: Tensor, found: list[Source]
) -> Iterator[tuple[str, Reading, float, bool]]:
    """Yield words, what is read, rank and whether it holds a number to be fitted."""
    yield "the gradient that comes from the loss", _upstream, 0.9, False
    for one, two in combinations(range(saved.dim()), 2):
        if saved.shape[one] == saved.shape[two]:
            words = "the transpose" if saved.dim() == 2 else f"axes {one} and {two} swapped"
            rank = 0.8 if (one, two) == (saved.dim() - 2, saved.dim() - 1) else 1.2
            yield words, partial(_swapped, one, two), rank, False
    if site.step.name in {"mm", "bmm"} and 1 < saved.shape[-1] != saved.shape[-2] > 1:
        yield "its own entries reshaped, where it is to be transposed", _reshaped, 0.8, False
    if saved.dim() >= 2:
        yield "both last axes flipped", _flipped, 1.4, False
    for name, function in ACTIVATIONS.items():
        yield f"{name} of it", partial(_applied, function), 2.4, False
    for name, number in replay.tape.leaves.items():
        own = replay.values[number]
        turned = own.dim() > 1 and _same(own.mT, saved)
        if number in replay.upstream and (turned or _same(own, saved)):
            words = f"{name} - {{share}} * its gradient (an updated {name})"
            yield words, partial(_updated, number, turned), 1.0, True
    for source in found:
        other = replay.values[source.last]
        if not _same(other, saved):
            rank = 0.7 + 0.02 * source.far
            if other.shape == saved.shape:
                yield source.words, partial(_value, source, site), rank, False
                if site.step.name in HINGES:
                    yield f"the negative of {source.words}", partial(_negative, source, site), rank + 0.2, False
            if other.dim() >= 2 and other.mT.shape == saved.shape:
                yield f"{source.words}, transposed", partial(_transposed, source, site), rank + 0.3, False


def _shifted(replay: Replay, site: Site, saved: Tensor) -> Iterator[tuple[str, Reading, float, bool]]:
    """Yield what the derivative should read, as it is one turn of a loop away."""
    for numbers in zip(*[step.inputs for step in site.group], strict=False):
        if len(set(numbers)) == len(numbers) > 2 and _same(replay.values[numbers[-1]], saved):
            for other, words in ((numbers[:1] + numbers[:-1], "before"), (numbers[1:] + numbers[-1:], "after")):
                source = Source(other, f"{described(replay, numbers[-1])} of the turn {words}", 1)
                yield source.words, partial(_value, source, site), 0.9, False


def _upstream(local: Local, saved: Tensor, grad: Tensor, _: float) -> Tensor:
    return grad


def _flipped(local: Local, saved: Tensor, grad: Tensor, _: float) -> Tensor:
    return saved.flip(-1, -2)


def _reshaped(local: Local, saved: Tensor, grad: Tensor, _: float) -> Tensor:
    return saved.reshape(saved.mT.shape).mT


def _swapped(one: int, two: int, local: Local, saved: Tensor, grad: Tensor, _: float) -> Tensor:
    return saved.swapaxes(one, two)


def _applied(function: Callable[[Tensor], Tensor], local: Local, saved: Tensor, grad: Tensor, _: float) -> Tensor:
    return function(saved)


def _updated(number: int, turned: bool, local: Local, saved: Tensor, grad: Tensor, rate: float) -> Tensor:
    own = local.replay.upstream[number]
    return saved - rate * (own.mT if turned else own)


def _value(source: Source, site: Site, local: Local, saved: Tensor, grad: Tensor, _: float) -> Tensor:
    return source.value(site, local)


def _negative(source: Source, site: Site, local: Local, saved: Tensor, grad: Tensor, _: float) -> Tensor:
    return -source.value(site, local)


def _transposed(source: Source, site: Site, local: Local, saved: Tensor, grad: Tensor, _: float) -> Tensor:
    return source.value(site, local).mT


def _which(replay: Replay, site: Site, local: Local, saved: Tensor) -> str:
    """Say what the derivative should have read."""
    lists = list(zip(*[step.inputs for step in site.group], strict=False))
    for k, number in enumerate(local.step.inputs):
        if _same(replay.values[number], saved):
            numbers = lists[k] if k < len(lists) else ()
            before = len(set(numbers)) == len(numbers) > 1 and carried(replay, numbers)
            return f", not {described(replay, number)}{' as it was before this turn' if before else ''}"
    return ", not its result"


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and one.data_ptr() == other.data_ptr() and one.stride() == other.stride()
