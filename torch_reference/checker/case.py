"""One gradient under examination: what the judge, the kinks and the causes look at."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from torch_reference.checker.blocks import all_finite, blocks, empty
from torch_reference.checker.formats import FLOAT64, Array, Format

# The allowance holds for any order of the sums. Where all entries but a few are much nearer, the sums are better than
# that, and an error that sticks out is no rounding. Few entries do not tell it; large arrays have too few draws for it.
APART, TIMES = 0.4, 2.5  # of the allowance, and of the largest excess but for those few
FEW, MANY, LARGE = 3, 200, 2**19
FLOOR = 1e-20  # smallest allowance that a weight knows, relative to the largest entry
SLACK = 4.0  # a cause that explains a gradient may leave four times the allowance: its factor is rounded too
# Moves the inputs by a relative amount: all of them (True), or only those that are differentiated by. Returns the
# gradients under test there, and the inputs; None if these are refused.
Probe = Callable[[float, bool], tuple[Mapping[str, Array], Mapping[str, Any]] | None]


@dataclass(frozen=True, eq=False)
class Given:
    """A gradient under test.

    Attributes
    ----------
    values : array
        Its entries, in any floating type that holds them without loss.
    returned : Format
        The format in which it was returned.
    """

    values: NDArray[Any]
    returned: Format

    def widened(self) -> "Given":
        """Return the same in float64."""
        return replace(self, values=self.values.astype(np.float64, copy=False))


@dataclass(frozen=True, eq=False)
class Case:
    """One gradient under examination.

    Attributes
    ----------
    name : str
        The input that the loss is differentiated by.
    manual, reference : float64 arrays
        The gradient under test and autograd's. One that is right may keep the type that it was given in.
    allowed : float64 array
        The difference that rounding explains; shape of the reference.
    inputs : mapping
        All inputs, for terms and factors.
    epsilon : float
        Machine epsilon that the gradient is held to.
    returned : Format
        The format in which the gradient was returned.
    """

    name: str
    manual: Array
    reference: Array
    allowed: Array
    inputs: Mapping[str, Any]
    epsilon: float
    returned: Format = FLOAT64

    def with_manual(self, manual: Array) -> "Case":
        """Return the case with another gradient under test."""
        return replace(self, manual=manual)

    def only(self, mask: NDArray[np.bool_]) -> "Case":
        """Return the case reduced to some entries."""
        return replace(self, manual=self.manual[mask], reference=self.reference[mask], allowed=self.allowed[mask])

    @property
    def comparable(self) -> bool:
        """Whether the gradient has the shape of the right one."""
        return self.manual.shape == self.reference.shape

    @property
    def finite(self) -> bool:
        """Whether the gradient has the right shape, and both are finite."""
        return self.comparable and all_finite(self.manual) and all_finite(self.reference)

    @property
    def right(self) -> bool:
        """Whether rounding explains every difference."""
        return self.comparable and not self.wrong.any()

    @cached_property
    def difference(self) -> Array:
        """Manual minus reference; zero where both are the same infinity or both NaN."""
        return difference(self.manual, self.reference)

    @cached_property
    def excess(self) -> NDArray[np.float32]:
        """Size of the difference in units of what rounding allows; infinite where it is NaN."""
        excess = empty(self.reference.shape, torch.float32)
        with np.errstate(all="ignore"):
            for rows in blocks(excess):
                part = np.asarray(np.abs(difference(self.manual[rows], self.reference[rows])))
                part /= self.allowed[rows]  # never zero: it holds the smallest number of the format
                if np.isnan(part.sum()):
                    part[np.isnan(part)] = np.inf
                excess[rows] = part
        return excess

    @cached_property
    def wrong(self) -> NDArray[np.bool_]:
        """Where the difference is more than rounding."""
        return np.greater(self.excess, self._limit(), out=empty(self.excess.shape, torch.bool))

    def _limit(self) -> float:
        """Return the excess from which an entry is wrong: less than 1 where a few stick out from many."""
        if self.excess.size >= LARGE:
            return 1.0
        others, most = self.excess[self.excess > 0], -FEW - 1
        if others.size < MANY:
            return 1.0
        return min(1.0, max(APART, TIMES * float(np.partition(others, most)[most])))

    def near(self, share: float) -> bool:
        """Say whether no difference is more than a share of what rounding allows."""
        return bool(self.excess.max(initial=0.0) <= share)

    @cached_property
    def nontrivial(self) -> NDArray[np.bool_]:
        """Where the gradients are not both zero to rounding."""
        found = empty(self.reference.shape, torch.bool)
        for rows in blocks(found):
            larger = np.maximum(np.abs(self.reference[rows]), np.abs(self.manual[rows]))
            found[rows] = larger > self.allowed[rows]
        return found


def difference(manual: Array, reference: Array) -> Array:
    """Return manual - reference; zero where both are the same infinity or both NaN."""
    with np.errstate(invalid="ignore", over="ignore"):
        found = np.asarray(manual - reference)
        if not np.isfinite(found.sum()):  # one pass, without an array of truth values
            found[(manual == reference) | (np.isnan(manual) & np.isnan(reference))] = 0.0
    return found


def agree(one: Array, other: Array, allowed: Array, factor: float = 1.0) -> bool:
    """Say whether an array is a factor times another one of equal shape, to rounding."""
    slack = SLACK * abs(factor)
    with np.errstate(over="ignore", invalid="ignore"):
        return all(
            bool((np.abs(one[rows] - factor * other[rows]) <= slack * allowed[rows]).all()) for rows in blocks(one)
        )


def fit(target: Array, direction: Array, allowed: Array, epsilon: float) -> float:
    """Return the c that brings c * direction closest to the target, each entry weighted by what rounding allows it."""
    largest, square, product = max(_largest(direction), _largest(target)), 0.0, 0.0
    for rows in blocks(target):
        part = target[rows]
        weighted, goal = _weighed(direction[rows], part, allowed[rows] + epsilon * np.abs(part), largest, FLOOR)
        square += float(np.sum(weighted * weighted))
        product += float(np.sum(weighted * goal))
    return product / square if square > 0 and np.isfinite(square) else 0.0


def weigh(direction: Array, target: Array, allowed: Array, floor: float = FLOOR) -> tuple[Array, Array]:
    """Divide both by the allowance, taken as at least a fraction of the largest entry so that nothing overflows."""
    return _weighed(direction, target, allowed, max(_largest(direction), _largest(target)), floor)


def _weighed(direction: Array, target: Array, allowed: Array, largest: float, floor: float) -> tuple[Array, Array]:
    if not largest:
        return direction, target
    weight = 1 / np.maximum(allowed / largest, floor)
    return direction / largest * weight, target / largest * weight


def _largest(array: Array) -> float:
    """Return the size of the largest entry."""
    return float(max(array.max(initial=0.0), -array.min(initial=0.0)))


def ratio(case: Case) -> float | None:
    """Return the one factor c with manual = c * reference to rounding, or None."""
    if not all_finite(case.manual) or not all_finite(case.reference):
        return None
    factor = fit(case.manual, case.reference, case.allowed, case.epsilon)
    return factor if factor and agree(case.manual, case.reference, case.allowed, factor) else None
