"""The mistakes along the way: what comes through one operand is left out, counted twice, or of the wrong sign."""

from collections.abc import Iterator
from functools import partial

from torch_reference.checker.derivations.change import ORDINALS, Change, every
from torch_reference.checker.derivations.site import VIEWS, Site, described, own
from torch_reference.checker.tape.replay import Local, Replay, reads, way
from torch_reference.checker.tape.steps import Step

STATISTICS = frozenset("mean sum amax amin linalg_vector_norm logsumexp prod max min".split())


def other_ways(replay: Replay, site: Site) -> Iterator[Change]:
    """Yield the changes of each way into one place.

    Where an operation reads one value alone and its result goes on to one other, the way through that one is the same.
    """
    flowing = [number for number in site.step.inputs if replay.values[number].requires_grad]
    if len(flowing) == 1 and len(reads(replay.tape, site.step.outputs[0])) == 1:
        return
    for k, number in enumerate(flowing):
        chain = _before(replay, number)
        named, what = _named(replay, site, k, number, chain)
        rules = every(site, partial(_weakened, k))
        rank = 3.0 if site.step.name in VIEWS and not chain else 0.5
        if len(site.group) == 1:
            yield Change("path", site, f"the way through {what} {{counted}}", rules, rank, fitted=True, named=named)
            continue
        yield Change("path", site, f"the way through {what} is left out", rules, rank, named=named)
        for share, words in ((2.0, "is counted twice"), (-1.0, "has the wrong sign")):
            counted = every(site, partial(_counted, k, share))
            yield Change("path", site, f"the way through {what} {words}", counted, rank + 2, named=named)
    if len(set(flowing)) < len(flowing) and len(site.group) == 1:
        number = flowing[0]
        named, what = _named(replay, site, 0, number, _before(replay, number))
        rules = every(site, partial(_weakened, None))
        yield Change("path", site, f"the way through {what} {{counted}}", rules, 0.6, fitted=True, named=named)


def _weakened(k: int | None, local: Local, share: float) -> object:
    operands = list(local.operands)
    places = [place for place, operand in enumerate(operands) if operand.requires_grad]
    for place in places if k is None else [places[k]]:
        operands[place] = way(operands[place], share)
    return local.compute(*operands)


def _counted(k: int | None, share: float, local: Local, _: float) -> object:
    return _weakened(k, local, share)


def _before(replay: Replay, number: int) -> list[Step]:
    """Return the operations that a value comes through, if it goes nowhere else, the last one first."""
    chain: list[Step] = []
    while len(reads(replay.tape, number)) == 1:
        maker = next((step for step in replay.tape.steps if number in step.outputs), None)
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
