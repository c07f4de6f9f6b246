"""Whether a gradient is a valid subgradient: a mixture of the gradients on the sides of a kink.

    manual = base + sum_k t_k (gradient with tie k the other way - base),    0 <= t_k <= 1

ReLU'(0) = 2 needs t = 2, and the whole gradient sent to both entries of a tied maximum is no mixture at all.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from torch_reference.checker.case import Case, weigh
from torch_reference.checker.formats import Array
from torch_reference.checker.kinks.least_squares import bounded_least_squares
from torch_reference.checker.kinks.sides import Sides

MIXING = 4.0  # roundings of a share: the division by the number of rivals, the product, the sum
FLOOR = 1e-12  # least allowance in the fit, relative to the largest entry; what it finds is held to the true one


def explains(sides: Sides, manual: Mapping[str, Array]) -> bool:
    """Say whether gradients are a mixture of the limits, to rounding: all of them with the same shares."""
    base, allowed, given = (_joined(each, manual) for each in (sides.base, sides.allowed, manual))
    finite = np.isfinite(base)
    residual = np.where(finite, given - base, 0.0)
    for limits in (sides.single, sides.uniform):
        others = [_joined(limit, manual) for limit in limits]
        steps = [np.where(finite & np.isfinite(other), other - base, 0.0) for other in others]
        steps = [step for step in steps if (np.abs(step) > allowed).any()]
        largest = np.max(np.abs([base, *steps]), axis=0)
        mixed = 2 * allowed + MIXING * sides.epsilon * np.where(finite, largest, 0.0)
        closest = mixture(steps, residual, mixed) if steps else 0.0
        if (np.abs(residual - closest) <= mixed).all():
            return True
    return False


def variants(sides: Sides, name: str) -> list[Callable[[Case], Case]]:
    """Return ways to look at a gradient that do not mind its kinks.

    Either the entries that kinks change get an allowance as large as the change, or all kinks go to one side.
    """
    base, allowed = sides.base[name], sides.allowed[name]
    change = np.zeros(base.shape)
    for limit in sides.single + sides.uniform:
        step = np.abs(np.nan_to_num(limit[name] - base))
        change = np.maximum(change, np.where(step > allowed, step, 0.0))
    ways: list[Callable[[Case], Case]] = []
    if np.count_nonzero(change) <= base.size // 2:
        ways.append(lambda case: replace(case, allowed=case.allowed + 2 * change))
    changed = [limit[name] for limit in sides.uniform if (np.abs(limit[name] - base) > allowed).any()]
    return ways + [partial(replace, reference=reference) for reference in changed]


def mixture(steps: Sequence[Array], residual: Array, allowed: Array) -> Array:
    """Return the mixture of steps, with shares from 0 to 1, that is closest to the residual."""
    stacked, goal = weigh(np.stack(steps), residual, allowed, FLOOR)
    matrix = stacked.reshape(len(steps), -1).T
    changed = np.abs(matrix).max(axis=1) > 0
    share = bounded_least_squares(matrix[changed], goal.ravel()[changed])
    return np.asarray(np.tensordot(share, np.stack(steps), axes=1))


def _joined(arrays: Mapping[str, Array], names: Iterable[str]) -> Array:
    """Return some arrays as one."""
    return np.concatenate([arrays[name].ravel() for name in names])
