"""The gradients on the other sides of a loss's kinks.

Where a unit sits exactly on a kink, or so near that rounding decides on which side, each side has its gradient: the
limits of the true one from there. They are found by taking each tied decision the other way, one by one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from torch_reference.checker.allowance import Allowance, bound
from torch_reference.checker.reference.decisions import Tie
from torch_reference.checker.reference.evaluation import Gradients
from torch_reference.checker.reference.ties import Recorder, TieBreak, find_ties
from torch_reference.checker.rounding import distance, with_decisions

DRAWS = 4  # on each side of a kink
SEEDS = 900  # the noise that finds ties has seeds of its own, from here on
SINGLE = 128  # mix at most so many ties
TURNS = 12  # a multiple of 2, 3 and 4: the sizes of contests that are shared evenly
BUDGET = 400  # evaluations of the reference to find the ties that matter

Wrong = Mapping[str, NDArray[np.bool_]]


@dataclass(frozen=True, eq=False)
class Sides:
    """The gradients on the other sides of a loss's kinks.

    Attributes
    ----------
    base : dict of str to float64 array
        Autograd's gradients.
    epsilon : float
        Machine epsilon that the gradient under test is held to.
    uniform : list of dict of str to float64 array
        The gradients where all ties of one operation go to the same side.
    single : list of dict of str to float64 array
        The gradients where one tie goes the other way; those that change an entry in need of an explanation.
    allowed : dict of str to float64 array
        What rounding explains on any of the sides.
    """

    base: Gradients
    epsilon: float
    uniform: list[Gradients]
    single: list[Gradients]
    allowed: Gradients

    def touch(self, name: str, wrong: NDArray[np.bool_]) -> bool:
        """Say whether kinks change any of the wrong entries."""
        steps = [np.abs(limit[name] - self.base[name]) for limit in self.single + self.uniform]
        return any((step[wrong] > self.allowed[name][wrong]).any() for step in steps if step.shape == wrong.shape)


def other_sides(allowance: Allowance, ties: list[Tie], wrong: Wrong) -> Sides:
    """Return the gradients on the other sides.

    Parameters
    ----------
    allowance : Allowance
        What rounding explains, and the reference.
    ties : list of Tie
        The decisions that could have gone the other way.
    wrong : mapping of str to bool array
        The entries in need of an explanation.
    """
    reference = allowance.reference
    uniform, allowed = [], {name: allowance.allowed(name) for name in wrong}
    for group in _one_sided(ties):
        limit, around = _limit(allowance, group)
        uniform.append(limit)
        allowed = {name: np.maximum(value, around[name]) for name, value in allowed.items()}
    turns = [reference.gradients(TieBreak(group)) for group in _turns(ties)]
    if turns:
        uniform += [turns[0], {name: np.mean([turn[name] for turn in turns], axis=0) for name in wrong}]
    sides = Sides(allowance.gradients, allowance.epsilon, uniform, [], allowed)
    if _can_explain(sides, wrong):
        order = np.random.default_rng(reference.seed).permutation(len(ties))
        sides.single.extend(_single(allowance, sides, [ties[number] for number in order], wrong))
    return sides


def decisions_at_risk(allowance: Allowance) -> list[Tie]:
    """Return the decisions of the reference that rounding could have taken the other way."""
    if not allowance.decisions:
        return []
    reference = allowance.reference
    recorders = [Recorder() for _ in range(DRAWS)]
    for number, recorder in enumerate(recorders):
        reference.gradients(allowance.noise(SEEDS + number), recorder)
    plain = Recorder()
    reference.gradients(plain)
    return find_ties(plain, [recorder.decisions for recorder in recorders], allowance.per_move)


def _limit(allowance: Allowance, ties: Sequence[Tie]) -> tuple[Gradients, Gradients]:
    """Return the gradients where ties go the other way, and the differences from them that rounding explains.

    Rounding moves what lies on a kink a little to its side, and that changes more than the decision.
    """
    reference, recorder = allowance.reference, Recorder()
    limit = reference.gradients(recorder, TieBreak(ties))
    scatter = {name: np.zeros(value.shape) for name, value in limit.items()}
    for number in range(DRAWS):
        for name, moved in distance(with_decisions(allowance, recorder.decisions, SEEDS + number), limit).items():
            scatter[name] += moved
    aside = distance(reference.gradients(TieBreak(ties, far=True)), limit)
    return limit, {
        name: bound(allowance, moved, DRAWS, limit[name], allowance.epsilon) + aside[name]
        for name, moved in scatter.items()
    }


def _can_explain(sides: Sides, wrong: Wrong) -> bool:
    """Say whether all wrong entries of some gradient change where ties go to one side."""
    for name, mask in wrong.items():
        changed = [np.abs(limit[name] - sides.base[name]) > sides.allowed[name] for limit in sides.uniform]
        if changed and not (mask & ~np.logical_or.reduce(changed)).any():
            return True
    return False


def _single(allowance: Allowance, sides: Sides, ties: list[Tie], wrong: Wrong) -> list[Gradients]:
    """Halve groups of ties until those that matter stand alone."""
    groups = [ties[start::SINGLE] for start in range(min(SINGLE, len(ties)))]
    found: list[Gradients] = []
    budget = BUDGET
    while groups and budget > 0:
        group = groups.pop()
        limit = allowance.reference.gradients(TieBreak(group))
        budget -= 1
        if not _matters(sides, limit, wrong):
            continue
        if len(group) > 1:
            groups += [group[::2], group[1::2]]
        else:
            found.append(limit)
            if len(found) > SINGLE:
                return []
    return [] if groups else found


def _matters(sides: Sides, limit: Gradients, wrong: Wrong) -> bool:
    return any(
        (np.abs(limit[name] - sides.base[name])[mask] > sides.allowed[name][mask]).any() for name, mask in wrong.items()
    )


def _one_sided(ties: Sequence[Tie]) -> list[list[Tie]]:
    """Group the ties of each decision by side."""
    groups: dict[tuple[int, int], list[Tie]] = {}
    for tie in ties:
        groups.setdefault((tie.decision, tie.side), []).append(tie)
    return list(groups.values())


def _turns(ties: Sequence[Tie]) -> list[list[Tie]]:
    """Let the entries of each contest win in turn; the mean over all turns shares the gradient evenly between them."""
    contests: dict[tuple[int, int], list[Tie]] = {}
    for tie in ties:
        if tie.contest >= 0:
            contests.setdefault((tie.decision, tie.contest), []).append(tie)
    return [[rivals[turn % len(rivals)] for rivals in contests.values()] for turn in range(TURNS if contests else 0)]
