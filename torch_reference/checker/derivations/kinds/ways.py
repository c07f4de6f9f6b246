"""The mistakes along the way: what comes through one operand is left out, counted twice, or of the wrong sign."""

from collections.abc import Iterator, Mapping
from functools import partial
from itertools import product

import torch
from torch import Tensor

from torch_reference.checker.derivations.change import ORDINALS, Change, Rules, derived, every, flowing
from torch_reference.checker.derivations.kinds.sources import carried
from torch_reference.checker.derivations.site import VIEWS, Site, described, own, sites
from torch_reference.checker.tape.replay import Local, Replay, Rule, reads, way
from torch_reference.checker.tape.steps import Step

COUNTED = {0.0: "is left out", 2.0: "is counted twice", -1.0: "has the wrong sign"}
LONGEST = 64  # turns of a block that are tried
STATISTICS = frozenset("mean sum amax amin linalg_vector_norm logsumexp prod max min".split())


def other_ways(replay: Replay, site: Site) -> Iterator[Change]:
    """Yield the changes of each way into one place.

    Where an operation reads one value alone and its result goes on to one other, the way through that one is the same.
    """
    local = replay.at(site.step)
    numbers = [number for number in site.step.inputs if replay.values[number].is_floating_point()]
    read = [numbers[k] for k in flowing(local)]
    if len(read) == 1 and len(reads(replay.tape, site.step.outputs[0])) == 1:
        return
    for k, number in zip(flowing(local), read, strict=True):
        chain = _before(replay, number)
        named, what = _named(replay, site, k, number, chain)
        rank = 3.0 if site.step.name in VIEWS and not chain else 0.5
        words = f"the way through {what}"
        if len(site.group) == 1:
            yield _way(site, f"{words} {{counted}}", k, rank, named)
            continue
        for share, counted in COUNTED.items():
            turns = every(site, partial(_counted, k, share))
            yield Change("path", site, f"{words} {counted}", turns, rank + (2.0 if share else 0.0), named=named)
    for k, words in ((0, "first"), (len(read) - 1, "last")) if len(read) > 2 and len(site.group) == 1 else ():
        yield derived(site, f"only the way through its {words} operand is followed", partial(_one, k), 0.9, code="path")
    if len(set(read)) < len(read) and len(site.group) == 1:
        number = read[0]
        named, what = _named(replay, site, 0, number, _before(replay, number))
        yield _way(site, f"the way through {what} {{counted}}", None, 0.6, named)


def _way(site: Site, words: str, k: int | None, rank: float, named: Site | None) -> Change:
    rules, backward = every(site, partial(_weakened, k)), partial(_passed, k)
    return Change("path", site, words, rules, rank, fitted=True, named=named, backward=backward)


def _weakened(k: int | None, local: Local, share: float) -> object:
    return local.compute(*[way(own, share) if k in (None, place) else own for place, own in enumerate(local.operands)])


def _passed(k: int | None, local: Local, grad: Tensor, share: float) -> list[Tensor]:
    return [share * own if k in (None, place) else own for place, own in enumerate(local.vjp(grad))]


def _one(position: int, local: Local, grad: Tensor, _: float) -> list[Tensor]:
    kept = flowing(local)[position]
    return [own if k == kept else torch.zeros_like(own) for k, own in enumerate(local.vjp(grad))]


def overwritten(replay: Replay, wrong: list[str]) -> Iterator[Change]:
    """Yield the gradients of what a loop reads in all its turns, kept of one turn: overwritten, not added up."""
    for kept, words in ((0, "first"), (-1, "last")):
        rules: dict[int, Rule] = {}
        places: list[Site] = []
        for site in (site for site in sites(replay, wrong) if len(site.group) > 1 and not site.turns):
            group = site.group
            read = set.intersection(*[set(step.inputs) for step in group])
            shared = {number for number in read if replay.values[number].requires_grad}
            view = site.step.name in VIEWS
            if shared and (not view or all(step.flat == group[0].flat for step in group)):
                rules |= {step.number: partial(_cut, shared, step) for step in set(group) - {group[kept]}}
                places.insert(0 if view else len(places), site)
        if places:
            said = f"of what the loop reads in every turn, only the {words} turn's gradient is kept"
            yield Change("path", places[-1], f"{said}: overwritten, not added up", _fixed(rules), 0.8)


def truncated(replay: Replay, wrong: list[str]) -> Iterator[Change]:
    """Yield the states of a loop that carry no gradient from one block of turns into the one before."""
    read: list[tuple[Site, set[int]]] = []
    for site in (site for site in sites(replay, wrong) if len(site.group) > 2 and not site.turns):
        lists = zip(*[step.inputs for step in site.group], strict=False)
        states = [numbers for numbers in lists if len(set(numbers)) == len(numbers) and carried(replay, numbers)]
        if kept := {number for numbers in states for number in numbers if replay.values[number].requires_grad}:
            read.append((site, kept))
    turns = max((len(site.group) for site, _ in read), default=0)
    for size, first in product(range(2, min(turns, LONGEST + 1)), (0, 1)):  # the first turn may stand before the loop
        rules: dict[int, Rule] = {}
        for site, kept in read:
            cut = [step for turn, step in enumerate(site.group) if turn and (turn + first) % size == 0]
            rules |= {step.number: partial(_cut, kept, step) for step in cut}
        said = f"what the loop carries has no gradient between blocks of {size} turns: each block is derived by itself"
        yield Change("path", read[0][0], said, _fixed(rules), 1.0)


def _fixed(rules: dict[int, Rule]) -> Rules:
    return lambda _: rules


def _cut(shared: set[int], step: Step, values: Mapping[int, Tensor], _: Replay) -> object:
    numbers = [number for number in step.inputs if values[number].is_floating_point()]
    operands = [values[number].detach() if number in shared else values[number] for number in numbers]
    return step.run(values, operands)


def _counted(k: int, share: float, local: Local, _: float) -> object:
    return _weakened(k, local, share)


def _before(replay: Replay, number: int) -> list[Step]:
    """Return the operations that a value comes through, if it goes nowhere else, the last one first."""
    chain: list[Step] = []
    while len(reads(replay.tape, number)) == 1:
        maker = replay.maker(number)
        if maker is None:
            break
        chain.append(maker)
        before = {other for other in maker.inputs if replay.values[other].requires_grad}
        if len(before) != 1:
            break
        number = before.pop()
    return [step for step in chain if step.name not in VIEWS]


def _named(replay: Replay, site: Site, k: int, number: int, chain: list[Step]) -> tuple[Site | None, str]:
    """Return the operation to name, and the words for the way: a mean rather than what is done with it later."""
    if not chain:
        return None, f"its {ORDINALS[min(k, 5)]} operand, {described(replay, number)},"
    best = next((step for step in chain if step.name in STATISTICS), chain[0])
    passed = [own(step) for step in reversed(chain[: chain.index(best)])]
    on = f"{', '.join([*passed, own(site.step)])} in line {site.place.line}"
    return Site((best,), (best,), site.turns), f"it (its result goes on to {on})"
