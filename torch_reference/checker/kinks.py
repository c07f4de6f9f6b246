"""Whether a difference from autograd is due to a kink of the loss, and a valid subgradient there.

Where a unit sits exactly on a kink, or so near that rounding decides on which side, each side has its gradient: the
limits of the true one from there. They are found by taking each tied decision the other way, one by one. A valid
subgradient is a mixture of them,

    manual = base + sum_k t_k (gradient with tie k the other way - base),    0 <= t_k <= 1.

ReLU'(0) = 2 needs t = 2, and the whole gradient sent to both entries of a tied maximum is no mixture at all.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from torch_reference.checker.causes.case import Case, weigh
from torch_reference.checker.reference.evaluation import Gradients
from torch_reference.checker.reference.ties import Tie, TieBreak
from torch_reference.checker.rounding import Rounding

SINGLE = 128  # so many ties at most are mixed
TURNS = 12  # a multiple of 2, 3 and 4: the sizes of contests that are shared evenly
BUDGET = 400  # evaluations of the reference to find the ties that matter
MIXING = 4.0  # roundings of a share: the division by the number of rivals, the product, the sum
FLOOR = 1e-12  # least allowance in the fit, relative to the largest entry; what it finds is held to the true one

Array = NDArray[np.float64]


class Kinks:
    """The gradients on the other sides of a loss's kinks.

    Parameters
    ----------
    rounding : Rounding
        Evaluates the reference, and knows what rounding explains.
    ties : list of Tie
        The decisions that could have gone the other way.
    wrong : mapping of str to bool array
        The entries in need of an explanation.
    seed : int
        Shuffles the ties.

    Attributes
    ----------
    uniform : list of dict of str to float64 array
        The gradients where all ties of one operation go to the same side.
    single : list of dict of str to float64 array
        The gradients where one tie goes the other way; those that change an entry in need of an explanation.
    allowed : dict of str to float64 array
        What rounding explains on any of the sides.
    """

    def __init__(self, rounding: Rounding, ties: list[Tie], wrong: Mapping[str, NDArray[np.bool_]], seed: int) -> None:
        self.autograd = rounding.autograd
        self.base = rounding.reference
        self.epsilon = rounding.epsilon
        self.wrong = wrong
        self.allowed = {name: rounding.allowed(name) for name in wrong}
        self.uniform = []
        for group in _one_sided(ties):
            limit, allowed = rounding.with_ties(group)
            self.uniform.append(limit)
            self.allowed = {name: np.maximum(value, allowed[name]) for name, value in self.allowed.items()}
        turns = [self.autograd.gradients(TieBreak(group)) for group in _turns(ties)]
        if turns:
            self.uniform += [turns[0], {name: np.mean([turn[name] for turn in turns], axis=0) for name in wrong}]
        order = np.random.default_rng(seed).permutation(len(ties))
        self.single = self._single([ties[number] for number in order]) if self._can_explain() else []

    def explains(self, name: str, manual: Array) -> bool:
        """Say whether a gradient is a mixture of the limits, to rounding."""
        base, allowed = self.base[name], self.allowed[name]
        finite = np.isfinite(base)
        residual = np.where(finite, manual - base, 0.0)
        for limits in (self.single, self.uniform):
            steps = [np.where(finite & np.isfinite(limit[name]), limit[name] - base, 0.0) for limit in limits]
            steps = [step for step in steps if (np.abs(step) > allowed).any()]
            largest = np.max(np.abs([base, *steps]), axis=0)
            mixed = 2 * allowed + MIXING * self.epsilon * np.where(finite, largest, 0.0)
            mixture = _mixture(steps, residual, mixed) if steps else 0.0
            if (np.abs(residual - mixture) <= mixed).all():
                return True
        return False

    def variants(self, name: str) -> list[Callable[[Case], Case]]:
        """Return ways to look at a gradient that do not mind its kinks.

        Either the entries that kinks change get an allowance as large as the change, or all kinks go to one side.
        """
        base, allowed = self.base[name], self.allowed[name]
        sides = [limit[name] for limit in self.single + self.uniform]
        change = np.zeros(base.shape)
        for side in sides:
            step = np.abs(np.nan_to_num(side - base))
            change = np.maximum(change, np.where(step > allowed, step, 0.0))
        ways: list[Callable[[Case], Case]] = [lambda case: replace(case, allowed=case.allowed + 2 * change)]
        if np.count_nonzero(change) > base.size // 2:
            ways = []
        for limit in self.uniform:
            if (np.abs(limit[name] - base) > allowed).any():
                ways.append(partial(replace, reference=limit[name]))
        return ways

    def touch(self, name: str, wrong: NDArray[np.bool_]) -> bool:
        """Say whether kinks change any of the wrong entries."""
        steps = [np.abs(limit[name] - self.base[name]) for limit in self.single + self.uniform]
        return any((step[wrong] > self.allowed[name][wrong]).any() for step in steps if step.shape == wrong.shape)

    def _can_explain(self) -> bool:
        """Say whether all wrong entries of some gradient change where ties go to one side."""
        for name, wrong in self.wrong.items():
            changed = [np.abs(limit[name] - self.base[name]) > self.allowed[name] for limit in self.uniform]
            if changed and not (wrong & ~np.logical_or.reduce(changed)).any():
                return True
        return False

    def _single(self, ties: list[Tie]) -> list[Gradients]:
        """Halve groups of ties until those that matter stand alone."""
        groups = [ties[start::SINGLE] for start in range(min(SINGLE, len(ties)))]
        found: list[Gradients] = []
        budget = BUDGET
        while groups and budget > 0:
            group = groups.pop()
            limit = self.autograd.gradients(TieBreak(group))
            budget -= 1
            if not self._matters([limit]):
                continue
            if len(group) > 1:
                groups += [group[::2], group[1::2]]
            else:
                found.append(limit)
                if len(found) > SINGLE:
                    return []
        return [] if groups else found

    def _matters(self, limits: list[Gradients]) -> bool:
        return any(
            (np.abs(limit[name] - self.base[name])[wrong] > self.allowed[name][wrong]).any()
            for limit in limits
            for name, wrong in self.wrong.items()
        )


def _one_sided(ties: list[Tie]) -> list[list[Tie]]:
    """Group the ties of each decision by side."""
    groups: dict[tuple[int, int], list[Tie]] = {}
    for tie in ties:
        groups.setdefault((tie.decision, tie.side), []).append(tie)
    return list(groups.values())


def _turns(ties: list[Tie]) -> list[list[Tie]]:
    """Let the entries of each contest win in turn; the mean over all turns shares the gradient evenly between them."""
    contests: dict[tuple[int, int], list[Tie]] = {}
    for tie in ties:
        if tie.contest >= 0:
            contests.setdefault((tie.decision, tie.contest), []).append(tie)
    return [[rivals[turn % len(rivals)] for rivals in contests.values()] for turn in range(TURNS if contests else 0)]


def _mixture(steps: list[Array], residual: Array, allowed: Array) -> Array:
    """Return the mixture of steps, with shares from 0 to 1, that is closest to the residual."""
    stacked, goal = weigh(np.stack(steps), residual, allowed, FLOOR)
    matrix = stacked.reshape(len(steps), -1).T
    changed = np.abs(matrix).max(axis=1) > 0
    share = _bounded_least_squares(matrix[changed], goal.reshape(-1)[changed])
    return np.asarray(np.tensordot(share, np.stack(steps), axes=1))


def _bounded_least_squares(matrix: Array, target: Array) -> Array:
    """Return the x with entries from 0 to 1 for which matrix @ x is closest to the target.

    The active-set method of Stark and Parker (Bounded-variable least squares, 1995): variables leave their bound where
    that helps most, one at a time, and go back to the bound that they run into on the way to the free minimum.
    """
    x = np.zeros(matrix.shape[1])
    free = np.zeros(len(x), dtype=bool)
    length = np.linalg.norm(matrix, axis=0)
    for _ in range(3 * len(x)):
        pull = (target - matrix @ x) @ matrix / length
        pull[free | ((x == 0) & (pull < 0)) | ((x == 1) & (pull > 0))] = 0.0
        best = int(np.argmax(np.abs(pull)))
        if np.abs(pull[best]) <= 1e-14 * np.linalg.norm(target):
            break
        free[best] = True
        while free.any():
            fixed = matrix[:, ~free] @ x[~free]
            scaled, *_ = np.linalg.lstsq(matrix[:, free] / length[free], target - fixed, rcond=1e-13)
            way = scaled / length[free] - x[free]
            with np.errstate(divide="ignore", invalid="ignore"):
                room = np.where(way > 0, (1 - x[free]) / way, np.where(way < 0, -x[free] / way, np.inf))
            step = min(1.0, float(room.min()))
            moved = np.clip(x[free] + step * way, 0.0, 1.0)
            moved[room <= step] = np.round(moved[room <= step])
            x[free] = moved
            if step == 1.0 and (room > 1).all():
                break
            free[free] = (moved > 0) & (moved < 1)
            if step == 1.0:
                break
    return x
