"""What several steps make of an array, linear in it and of its shape: a rotation, a running sum, a recurrence."""

from collections.abc import Iterator
from dataclasses import replace

from torch_reference.checker.derivations.regions import Region
from torch_reference.checker.derivations.site import VIEWS, Site, sites
from torch_reference.checker.reference.private import tree_flatten
from torch_reference.checker.tape.replay import Replay
from torch_reference.checker.tape.steps import Ref, Step

LINEAR = VIEWS | set("add sub rsub neg sum mean cat stack flip roll cumsum tril triu index index_select gather".split())
PRODUCTS = frozenset({"mul", "mm", "bmm", "convolution", "div"})  # linear in each factor, but for the divisor
PLACES = 2  # calls of one line that are no loop: a function for query and key
LONGEST = 400  # steps that are followed from an array on


def maps(replay: Replay, wrong: list[str]) -> Iterator[Site]:
    """Yield the linear maps of each array onto one of its shape, by two steps or more, whole loops among them."""
    numbers = [replay.tape.leaves[name] for name in wrong]
    places = [site for site in sites(replay, wrong) if not site.turns and len(site.group) <= PLACES]
    numbers += [number for site in places for step in site.group for number in step.outputs]
    for x in numbers:
        if replay.values[x].is_floating_point() and replay.values[x].dim():
            yield from _maps_of(replay, x)


def _maps_of(replay: Replay, x: int) -> Iterator[Site]:
    """Follow an array as long as it is multiplied by nothing that depends on it."""
    maker = replay.maker(x)
    start = maker.number + 1 if maker else 0
    dependent, linear = {x}, {x}
    steps: list[Step] = []
    turns = {step for group in replay.groups if len(group) > PLACES for step in group}
    for step in replay.tape.steps[start : start + LONGEST]:
        if not dependent.intersection(step.inputs):
            continue
        dependent.update(step.outputs)
        if not _is_linear(step, dependent, linear):
            continue
        linear.update(step.outputs)
        steps.append(step)
        y = step.outputs[0]
        if step.name not in VIEWS and step not in turns and replay.values[y].shape == replay.values[x].shape:
            needed = _needed(steps, y)
            if sum(each.name not in VIEWS for each in needed) > 1:
                yield _site(needed, x, y)


def _is_linear(step: Step, dependent: set[int], linear: set[int]) -> bool:
    read = [number for number in step.inputs if number in dependent]
    if step.name in PRODUCTS:
        return linear.issuperset(read) and len(read) == 1 and (step.name != "div" or step.inputs[0] in read)
    return linear.issuperset(read) and step.name in LINEAR


def _needed(steps: list[Step], y: int) -> tuple[Step, ...]:
    """Return the steps that lead to a value."""
    wanted, found = {y}, []
    for step in reversed(steps):
        if wanted.intersection(step.outputs):
            wanted.update(step.inputs)
            found.append(step)
    return tuple(reversed(found))


def _site(steps: tuple[Step, ...], x: int, y: int) -> Site:
    inner = {number for step in steps for number in step.outputs}
    others = sorted({number for step in steps for number in step.inputs} - inner - {x})
    flat, spec = tree_flatten((tuple(Ref(number) for number in (x, *others)), {}))
    place = replace(steps[-1].place, formula="")
    step = Step(steps[-1].number, Region(steps, (x, *others)), tuple(flat), spec, (y,), place, False)
    return Site((step,), (step,))
