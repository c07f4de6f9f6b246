"""Functions that the reference writes out by hand, recognised by what they compute, each as if it were one operation.

A group of steps whose result is softmax of an earlier value is softmax, whatever the lines are: then the mistakes of
softmax's derivative can be tried on it. Such a step stands in the place of the group's last one.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from torch_reference.checker.derivations.functions import (
    ELEMENTWISE,
    along,
    binary_cross_entropy,
    is_even,
    normalized,
    recurrences,
)
from torch_reference.checker.derivations.site import VIEWS, Site, sites
from torch_reference.checker.reference.private import tree_flatten
from torch_reference.checker.tape.replay import Replay
from torch_reference.checker.tape.steps import Ref, Step

NEAR = 1e-10  # of the largest entry: so near a value is the function of another
PROBED = 8  # entries that are compared first


@dataclass(frozen=True, eq=False)
class _Found:
    """A value that is a function of others."""

    number: int
    name: str
    func: Any
    operands: tuple[int, ...]
    arguments: tuple[Any, ...] = ()
    picked: Callable[[Tensor], Tensor] | None = None


def composites(replay: Replay, wrong: list[str]) -> list[Site]:
    """Return the functions that several steps compute together, with all turns where they stand in a loop."""
    results = {
        step.outputs[0]: step
        for site in sites(replay, wrong)
        if not site.turns
        for step in site.group
        if step.name not in VIEWS and len(step.outputs) == 1 and _is_array(replay.values[step.outputs[0]])
    }
    before = _Ancestors(replay)
    turns: dict[tuple[Any, ...], list[tuple[_Found, Step]]] = {}
    for found in _recognised(replay, list(results), before):
        maker = results[found.number]
        if not set(found.operands) <= set(maker.inputs) or maker.name not in {*ELEMENTWISE, "_softmax", "_log_softmax"}:
            turns.setdefault((found.name, found.arguments, (maker.name, maker.place)), []).append((found, maker))
    sizes = {(group[0].name, group[0].place): len(group) for group in replay.groups}
    return [_site(replay, group, before) for (*_, maker), group in turns.items() if len(group) == sizes[maker]]


def _site(replay: Replay, turns: list[tuple[_Found, Step]], before: "_Ancestors") -> Site:
    steps = []
    found, maker = turns[-1]
    source = replay.maker(found.operands[0])
    parts = [
        step
        for step in replay.tape.steps[source.number + 1 if source else 0 : maker.number]
        if before.known(maker.outputs[0], step.outputs[0]) and before.known(step.outputs[0], found.operands[0])
    ]
    together = all(part.place.spot[0] == maker.place.spot[0] for part in parts)  # one function of PyTorch's
    for found, maker in turns:
        flat, spec = tree_flatten(((*map(Ref, found.operands), *found.arguments), {}))
        place = replace(maker.place, call=maker.place.call if together else found.name, formula="")
        steps.append(Step(maker.number, found.func, tuple(flat), spec, maker.outputs, place, False))
    start = min((part.place.line for part in parts), default=maker.place.line)
    note = f"written out from line {start} on" if 0 < start < maker.place.line else ""
    return Site(tuple(steps), tuple(steps), picked=found.picked, note=note)


class _Ancestors:
    """Which values each value depends on, as bits."""

    def __init__(self, replay: Replay) -> None:
        self.bits: dict[int, int] = {}
        for step in replay.tape.steps:
            bits = 0
            for number in step.inputs:
                bits |= self.bits.get(number, 0) | 1 << number
            self.bits |= dict.fromkeys(step.outputs, bits)

    def known(self, number: int, other: int) -> bool:
        """Say whether a value depends on another."""
        return bool(self.bits.get(number, 0) >> other & 1)


def _recognised(replay: Replay, results: list[int], before: _Ancestors) -> Iterator[_Found]:
    """Yield each result that is a function of an earlier value: of several such values the first."""
    values = {number: value.detach() for number, value in replay.values.items() if _is_array(value)}
    known = [number for number in values if replay.values[number].requires_grad]
    targets = [number for number, value in values.items() if value.min() >= 0 and value.max() <= 1]
    even = {number for number in results if is_even(values[number])}
    taken: set[tuple[int, str]] = set()
    for x in known:
        later = [y for y in results if before.known(y, x)]
        found_of_x = _functions(values, x, later, even), _picks(values, x, later), _two(values, x, later, targets)
        for found in chain(*found_of_x, _recurrences(values, x, later, known)):
            if (found.number, found.name) not in taken:
                taken.add((found.number, found.name))
                yield found


def _functions(values: dict[int, Tensor], x: int, later: list[int], even: set[int]) -> Iterator[_Found]:
    alike = [y for y in later if values[y].shape == values[x].shape]
    apart = (_probed(values, alike) - _probed(values, [x])).abs().amax(1) > NEAR if alike else ()
    alike = [y for y, far in zip(alike, apart, strict=True) if far or not _same(values[x], values[y])]
    if not alike:
        return
    probes = _probed(values, alike)
    for name, (operator, *arguments) in {**ELEMENTWISE, **along(values[x].dim())}.items():
        result = operator(values[x], *arguments)
        near = (probes - result.reshape(-1)[:PROBED]).abs().amax(1) <= NEAR * (1 + probes.abs().amax(1))
        for place in near.nonzero().reshape(-1).tolist():
            if _same(result, values[alike[place]]):
                yield _Found(alike[place], name.split(" ")[0], operator, (x,), tuple(arguments))
    for y in (y for y in alike if y in even):
        for function in normalized(values[x], values[y]):
            yield _Found(y, function.name, function, (x,))


def _picks(values: dict[int, Tensor], x: int, later: list[int]) -> Iterator[_Found]:
    """Yield log-softmax at one class in each row, the class of the label, and its negative."""
    for axis in range(values[x].dim()):
        shape = values[x].select(axis, 0).shape
        alike = [y for y in later if values[y].shape == shape and shape.numel() > 1]
        whole = torch.log_softmax(values[x], axis) if alike else values[x]
        for y in alike:
            for sign in (1, -1):
                rest = (whole - sign * values[y].unsqueeze(axis)).abs()
                if rest.amin(axis).max() <= NEAR * (1 + values[y].abs().max()):
                    picked = partial(_pick, rest.argmin(axis, keepdim=True), axis, sign)
                    operator = torch.ops.aten._log_softmax.default
                    yield _Found(y, "cross_entropy", operator, (x,), (axis, False), picked)


def _pick(classes: Tensor, axis: int, sign: int, whole: Tensor) -> Tensor:
    return sign * whole.gather(axis, classes).squeeze(axis)


def _two(values: dict[int, Tensor], x: int, later: list[int], targets: list[int]) -> Iterator[_Found]:
    """Yield binary cross-entropy with logits, of an array of targets."""
    alike = [y for y in later if values[y].shape == values[x].shape]
    given = [target for target in targets if values[target].shape == values[x].shape]
    if not alike or not given:
        return
    losses = binary_cross_entropy(_probed(values, [x]), _probed(values, given))
    rest = losses.unsqueeze(1) - _probed(values, alike).abs()
    near = rest.abs().amax(2) <= NEAR * (1 + losses.amax(1, keepdim=True))
    for target, y in ((given[row], alike[column]) for row, column in near.nonzero().tolist()):
        loss = binary_cross_entropy(values[x], values[target])
        for sign in (1, -1):
            if _same(sign * loss, values[y]):
                picked = partial(torch.mul, torch.tensor(float(sign), dtype=loss.dtype))
                yield _Found(y, "binary_cross_entropy", binary_cross_entropy, (x, target), (), picked)


def _probed(values: dict[int, Tensor], numbers: list[int]) -> Tensor:
    """Return the first entries of some arrays, a row each."""
    return torch.stack([values[number].reshape(-1)[:PROBED] for number in numbers])


def _recurrences(values: dict[int, Tensor], x: int, later: list[int], known: list[int]) -> Iterator[_Found]:
    """Yield linear recurrences, of an array of decays: they begin with x itself."""
    alike = [y for y in later if values[y].shape == values[x].shape]
    begun = (_probed(values, alike)[:, 0] - values[x].reshape(-1)[0]).abs().tolist() if alike else []
    for y, off in zip(alike, begun, strict=True):
        for a in known if off <= NEAR * (1 + values[x].abs().max()) else ():
            for function in recurrences(values[x], values[a], values[y]):
                yield _Found(y, function.name, function, (x, a))


def _is_array(value: Tensor) -> bool:
    return value.is_floating_point() and value.dim() > 0 and value.numel() > 0


def _same(one: Tensor, other: Tensor) -> bool:
    return bool((one - other).abs().max() <= NEAR * (1 + one.abs().max()))
