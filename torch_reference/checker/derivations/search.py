"""Look for the change of the reference that makes autograd return the hand-derived gradients."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from torch import Tensor
from tqdm import tqdm

from torch_reference.checker.derivations.change import TURNS, Change, checked
from torch_reference.checker.derivations.composites import composites
from torch_reference.checker.derivations.kinds.blocks import other_blocks
from torch_reference.checker.derivations.kinds.copies import miscounted_copies
from torch_reference.checker.derivations.kinds.normalizations import other_normalizations
from torch_reference.checker.derivations.kinds.readings import other_readings
from torch_reference.checker.derivations.kinds.recurrences import other_recurrences
from torch_reference.checker.derivations.kinds.results import changed_results, formula_left_out
from torch_reference.checker.derivations.kinds.slopes import inner_left_out, other_slopes, same_way_back
from torch_reference.checker.derivations.kinds.targets import other_targets
from torch_reference.checker.derivations.kinds.upstreams import other_upstreams
from torch_reference.checker.derivations.kinds.ways import other_ways, overwritten, truncated
from torch_reference.checker.derivations.maps import maps
from torch_reference.checker.derivations.regions import regions
from torch_reference.checker.derivations.site import VIEWS, sites
from torch_reference.checker.derivations.target import Target
from torch_reference.checker.tape.replay import Replay, Rule

FEW = 3  # explanations that are named
AWAY = 100.0  # times the allowance at the second point, where it was not measured
WORSE = 1.0  # ranks after which what is left is less likely than what was found
WRITTEN_OUT = 2.0  # added to the rank of what holds for several operations together: one of them is the better answer
ALONE = 0.7  # of the tries, for one change at a time
UNLIKELY = 1.4  # rank above which two likely changes may be the better explanation
WAYS, SLOPES = 1.0, 0.05  # ranks up to which changes are tried two at a time
UNUSUAL = {0.0: 0.0, 2.0: 1.0, -1.0: 1.0}  # added to the rank of a way that is counted otherwise; any other number: 3

Second = Callable[[], tuple[Replay, Target] | None]
Gradients = Mapping[str, Tensor]


@dataclass(frozen=True)
class Explanation:
    """Changes, those nearer to the loss first, a factor for all wrong gradients, and those that the changes affect."""

    parts: tuple[Change, ...]
    factor: float = 1.0
    affected: frozenset[str] = frozenset()

    @property
    def rank(self) -> float:
        """How unlikely it is."""
        odd = [UNUSUAL.get(round(part.share, 6), 3.0) for part in self.parts if "{counted}" in part.words]
        return sum(part.rank for part in self.parts) + sum(odd) + (2.0 if self.factor != 1 else 0.0)


def changes(replay: Replay, wrong: list[str]) -> Iterator[Change]:
    """Yield all changes, likely ones first; those nearer to the loss first where they are alike."""
    places, formulas = sites(replay, wrong), list(regions(replay, wrong))
    linear = list(maps(replay, wrong))
    try:
        written_out = composites(replay, wrong)
    except RuntimeError:  # a type that PyTorch has no softmax for
        written_out = []
    for kinds in (
        (other_ways, other_slopes, other_targets),
        (other_readings, other_blocks),
        (other_upstreams, changed_results),
    ):
        found: list[Change] = []
        for site in places:
            for kind in kinds:
                if kind is other_ways or (site.step.name not in VIEWS and not site.turns):
                    found += _offered(kind, replay, site)
        for site in written_out:
            for kind in kinds:
                if kind not in (other_ways, other_upstreams):
                    found += _offered(kind, replay, site, later=WRITTEN_OUT)
            found += _offered(other_recurrences, replay, site) if other_slopes in kinds else ()
            found += _offered(other_normalizations, replay, site) if changed_results in kinds else ()
        for site in formulas:
            found += _offered(inner_left_out, replay, site, later=WRITTEN_OUT) if other_slopes in kinds else ()
            found += _offered(formula_left_out, site) if changed_results in kinds else ()
        found += _offered(same_way_back, replay, linear, later=WRITTEN_OUT) if other_slopes in kinds else ()
        for together in (overwritten, truncated, miscounted_copies) if other_ways in kinds else ():
            found += _offered(together, replay, wrong)
        yield from sorted(found, key=lambda change: change.rank + (TURNS if change.site.turns else 0.0))


def _offered(kind: Callable[..., Iterable[Change]], *arguments: Any, later: float = 0.0) -> list[Change]:
    """Return what a kind of change offers, with so much added to the ranks."""
    try:
        return [replace(change, rank=change.rank + later) for change in kind(*arguments)]
    except Exception:  # a step of a form that the kind does not know; the others may still explain the gradient
        return []


def explanations(replay: Replay, target: Target, second: Second, most: int) -> tuple[list[Explanation], bool]:
    """Return what reproduces all hand-derived gradients, at a second point too, and whether more was left to try.

    At most so many changes are tried, a part of them two at a time.
    """
    tries, ended = 0, False
    found: list[Explanation] = []
    likely: list[Change] = []
    for change in tqdm(changes(replay, target.wrong), delay=1, disable=None, leave=False, unit=" changes"):
        if found and change.rank > _best(found) + WORSE:
            continue
        if tries >= ALONE * most:
            ended = True
            break
        tries += 1
        if explanation := tried(replay, target, change):
            found.append(explanation)
        if change.rank <= (WAYS if change.code == "path" else SLOPES) and not change.site.turns:
            likely.append(change)
    for one, other in combinations(likely if not found or _best(found) > UNLIKELY else [], 2):
        if one.site.step.number == other.site.step.number:
            continue
        if tries >= most:
            ended = True
            break
        tries += 1
        if pair := _both(replay, target, one, other):
            found.append(pair)
            break
    return confirmed(sorted(found, key=lambda explanation: explanation.rank), second), ended


def _best(found: list[Explanation]) -> float:
    return min(explanation.rank for explanation in found)


def _both(replay: Replay, target: Target, one: Change, other: Change) -> Explanation | None:
    """Return what two changes explain as they are, or as two ways of the wrong sign."""
    parts = sorted((one, other), key=lambda change: -change.site.step.number)
    turned = [replace(part, share=-1.0) for part in parts if part.fitted and part.code == "path"]
    for both in (parts, turned) if len(turned) == len(parts) else (parts,):
        try:
            gradients = replay.gradients(both[0].rules(both[0].share) | both[1].rules(both[1].share))
        except Exception:  # they do not fit together
            return None
        if target.matched(gradients) == 1.0 and target.met(gradients):
            return Explanation(tuple(both), affected=target.affected(gradients))
    return None


def tried(replay: Replay, target: Target, change: Change) -> Explanation | None:
    """Return the explanation that one change gives, with the number and the factor that fit."""
    try:
        gradients = _gradients(replay, change, 0.0)
        factor, share = target.matched(gradients), 0.0
        if factor is None and change.fitted:
            one = replay.base if change.code == "path" else _gradients(replay, change, 1.0)
            if (found := target.between(gradients, one)) is not None:
                factor, share = 1.0, found
        if factor is None:
            return None
        gradients = replay.gradients(change.rules(share))
    except Exception:  # whatever PyTorch raises where a change does not fit an operation
        return None
    if not target.met(gradients, factor):
        return None
    return Explanation((replace(change, share=share),), factor, target.affected(gradients))


def _gradients(replay: Replay, change: Change, share: float) -> Gradients:
    """Return the gradients under a change; with the forward pass as it was, only what is added is pulled back."""
    grad = change.site.upstream(replay) if change.backward else None
    if change.backward is None or grad is None:
        return replay.gradients(change.rules(share))
    local = replay.at(change.site.step)
    passed = checked(local, change.backward(local, grad, share))
    differences = {
        k: (other - own).detach()
        for k, (own, other) in enumerate(zip(local.vjp(grad), passed, strict=True))
        if local.operands[k].requires_grad
    }
    return replay.pulled([local.operands[k] for k in differences], list(differences.values()))


def confirmed(found: list[Explanation], second: Second) -> list[Explanation]:
    """Keep what also holds at a second point, one explanation for each place."""
    point = second() if found else None
    kept: dict[object, Explanation] = {}
    for explanation in found:
        places = tuple((part.named or part.site).place for part in explanation.parts)
        if len(kept) < FEW and places not in kept and (point is None or _reproduces(*point, explanation)):
            kept[places] = explanation
    return list(kept.values())


def rules_of(explanation: Explanation) -> dict[int, Rule]:
    """Return the rules of all parts."""
    rules: dict[int, Rule] = {}
    for part in explanation.parts:
        rules |= part.rules(part.share)
    return rules


def _reproduces(replay: Replay, target: Target, explanation: Explanation) -> bool:
    try:
        return target.met(replay.gradients(rules_of(explanation)), explanation.factor, AWAY)
    except Exception:  # the other point took another way through the reference
        return False
