"""The arrays that a derivation may take by mistake: what other steps read and compute, in the same turn of a loop."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from torch_reference.checker.derivations.change import NotApplicableError
from torch_reference.checker.derivations.site import VIEWS, Site, described
from torch_reference.checker.tape.replay import Local, Replay
from torch_reference.checker.tape.steps import Step


@dataclass(frozen=True)
class Source:
    """An array that may be taken: its number in each turn of a site, what it is called, how many steps it is away."""

    numbers: tuple[int, ...]
    words: str
    far: int

    def value(self, site: Site, local: Local) -> Tensor:
        """Return the array in the turn of a step."""
        return local.replay.values[self._number(site, local)]

    def gradient(self, site: Site, local: Local) -> Tensor:
        """Return the gradient of the array in the turn of a step."""
        grad = local.replay.upstream.get(self._number(site, local))
        if grad is None:
            raise NotApplicableError
        return grad

    @property
    def last(self) -> int:
        """The number in the last turn."""
        return self.numbers[-1]

    def _number(self, site: Site, local: Local) -> int:
        return self.numbers[site.group.index(local.step)]


def sources(replay: Replay, site: Site) -> list[Source]:
    """Return all arrays that may be taken at a site, without those that are but views of another."""
    found: dict[tuple[int, ...], Source] = {}
    for source in _all(replay, site):
        found.setdefault(source.numbers, source)
    return list(found.values())


def _all(replay: Replay, site: Site) -> Iterator[Source]:
    turns = len(site.group)
    for name, number in replay.tape.leaves.items():
        yield Source((number,) * turns, name, 3)
    before: list[Source] = []
    for group in replay.groups:
        if group[-1].name in VIEWS:
            continue
        away = abs(group[-1].number - site.step.number)
        for position, number in enumerate(group[-1].outputs):
            if not replay.values[number].is_floating_point():
                continue
            words = described(replay, number)
            if len(group) == 1:
                yield Source((number,) * turns, words, away)
            elif turns > 1 and len(group) >= turns:
                yield Source(_outputs(group[-turns:], position), words, away)
        if len(group) == turns > 1:
            before += _states_before(replay, group, away)
    yield from before


def _outputs(group: tuple[Step, ...], position: int) -> tuple[int, ...]:
    return tuple(step.outputs[position] for step in group)


def _states_before(replay: Replay, group: tuple[Step, ...], away: int) -> Iterator[Source]:
    """Yield what the turns of an operation read that is another array in each: the state that the turn before left."""
    for k in range(min(len(step.inputs) for step in group)):
        numbers = tuple(step.inputs[k] for step in group)
        if len(set(numbers)) == len(numbers) and replay.values[numbers[-1]].is_floating_point():
            words = described(replay, numbers[-1])
            yield Source(numbers, f"{words} as it was before this turn" if carried(replay, numbers) else words, away)


def carried(replay: Replay, numbers: tuple[int, ...]) -> bool:
    """Say whether an array comes from the turn before: its first one is no result of the loop."""
    makers = [replay.maker(number) for number in numbers]
    return makers[0] is None or (makers[-1] is not None and makers[0].place != makers[-1].place)
