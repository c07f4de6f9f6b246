"""Whether the error is that of a lower precision, or of finite differences, rather than of a wrong formula.

Rounding errors are noise: they change completely when the inputs move by a little more than the rounding unit, while
the error of a wrong formula moves along smoothly. Finite differences err by a multiple of a higher derivative, which
autograd can be asked for.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torch_reference.checker.case import Case, weigh
from torch_reference.checker.formats import Array, Format

WIDESPREAD = 0.3  # finite differences show in at least this share of the entries
NUDGES = (1, 2, 3)  # neighbouring points
CHANGED = 0.5  # relative change of the error from one to the next above which it is noise
SMALL = 1e-2  # finite differences err by no more than this of the largest entry
PROBES = 12  # entries for which higher derivatives are compared
LONGEST = 3e-3  # step of finite differences that anybody would choose
STEP = 1e-3  # for those, relative to the input
ALIKE = 0.3  # what may be left of the error, relative: rounding is on top of it

Lower = Sequence[tuple[Format, Array]]
Nudged = Callable[[float], tuple[Array, Array] | None]
Slope = Callable[[tuple[int, ...], float], float]


def imprecise(case: Case, lower: Lower, nudged: Nudged) -> str | None:
    """Return a message if the error is that of a lower precision.

    Parameters
    ----------
    case : Case
        The gradient.
    lower : sequence of Format and float64 array
        What rounding would explain in each lower precision.
    nudged : callable
        Returns manual and reference gradient where the inputs are moved by a relative amount, or None.
    """
    if not np.isfinite(case.difference).all():
        return None
    for each, allowed in lower:
        if case.returned.epsilon >= each.epsilon and (np.abs(case.difference) <= allowed).all():
            return f"The formula is right, but intermediate results or sums are kept in {each.name} inside."
    for each, allowed in lower:
        if (np.abs(case.difference) <= allowed).all():
            if _noise(case, nudged, 4 * each.epsilon):
                place = [int(index) for index in np.unravel_index(int(np.argmax(case.excess)), case.excess.shape)]
                return (
                    f"The formula is right, but the error is noise of the size that {each.name} arithmetic leaves. "
                    f"Most digits are lost at {place}: to a lower precision, or to a difference of large numbers."
                )
            break
    return None


def _noise(case: Case, nudged: Nudged, amount: float) -> bool:
    """Say whether the error is another one at a neighbouring point; by chance one of them may have a similar one."""
    for times in NUDGES:
        moved = nudged(times * amount)
        if moved is None or moved[0].shape != case.manual.shape:
            return False
        before, after = weigh(case.difference, moved[0] - moved[1], case.allowed)
        if np.linalg.norm(after - before) > CHANGED * np.linalg.norm(before):
            return True
    return False


def finite_differences(case: Case, slope: Slope) -> str | None:
    """Return a message if the error is that of finite differences.

    Forward differences err by h/2 times the second derivative, central ones by h^2/6 times the third.

    Parameters
    ----------
    case : Case
        The gradient.
    slope : callable
        Returns one entry of the reference gradient where that entry of the input is changed by an amount.
    """
    if case.name not in case.inputs or not np.isfinite(case.difference).all():  # an output is no derivative
        return None
    if np.count_nonzero(case.wrong) < WIDESPREAD * np.count_nonzero(case.nontrivial):
        return None
    if np.abs(case.difference).max(initial=0.0) > SMALL * np.abs(case.reference).max(initial=0.0):
        return None
    values = np.asarray(case.inputs[case.name], dtype=np.float64)
    order = np.argsort(np.abs(case.difference), axis=None)[::-1][:PROBES]
    errors, second, third = [], [], []
    for index in np.transpose(np.unravel_index(order, values.shape)):
        place = tuple(int(number) for number in index)
        step = STEP * max(1e-3, abs(float(values[place])))
        up, down = slope(place, step), slope(place, -step)
        errors.append(float(case.difference[place]))
        second.append((up - down) / (2 * step))
        third.append((up - 2 * float(case.reference[place]) + down) / step**2)
    for derivative, words in ((second, "one-sided"), (third, "central")):
        steps = _steps(np.array(errors), np.array(derivative))
        if steps is not None:
            size = 2 * abs(steps) if words == "one-sided" else float(np.sqrt(abs(6 * steps)))
            if size > LONGEST:
                continue
            return f"The error is that of {words} finite differences with a step of about {size:.1e}."
    return None


def _steps(errors: NDArray[Any], derivatives: NDArray[Any]) -> float | None:
    """Return the constant between errors and derivatives, if there is one."""
    if errors.size < 2 or not (np.isfinite(derivatives).all() and derivatives.any()):
        return None
    constant = float(errors @ derivatives / (derivatives @ derivatives))
    rest = np.linalg.norm(errors - constant * derivatives)
    return constant if rest <= ALIKE * np.linalg.norm(errors) else None
