"""Words for a constant factor: which sizes and named numbers of the problem make it up, and what that usually means."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

CLOSE = 1e-9  # relative, for naming a factor that least squares found
LOOSE = 1e-3  # the same for gradients of low precision


@np.errstate(over="ignore")  # the square of a huge number is infinite, and no factor
def describe(factor: float, inputs: Mapping[str, Any], close: float = CLOSE) -> str:
    """Return what a factor may be, such as "32 = N, ...", or an empty string when nothing fits.

    Parameters
    ----------
    factor : float
        Manual gradient divided by the right one.
    inputs : mapping of str to array
        Their sizes and their scalars are candidates.
    close : float
        Relative distance at which two factors are the same.
    """
    size = abs(factor)
    for value, words in _candidates(inputs):
        if math.isclose(size, value, rel_tol=close):
            return words
    return ""


def _candidates(inputs: Mapping[str, Any]) -> list[tuple[float, str]]:
    arrays = {name: np.asarray(value) for name, value in inputs.items()}
    sizes: dict[int, str] = {}
    for name, array in arrays.items():
        for axis, size in enumerate(array.shape):
            if size > 2:
                sizes.setdefault(size, f"axis {axis} of {name}")
    scalars = {
        name: abs(float(array)) for name, array in arrays.items() if array.ndim == 0 and array.dtype.kind in "fiu"
    }
    first = {array.shape[0] for array in arrays.values() if array.ndim}
    found: list[tuple[float, str]] = []
    for size, where in sizes.items():
        batch = "the mean over the batch is missing" if size in first else "a mean is missing"
        twice = "the mean is taken twice" if size in first else "one mean is taken that should not be"
        found += [(size, f"{size} is {where}: {batch}"), (1 / size, f"{size} is {where}: {twice}")]
    found.append((2.0, "the 1/2 of a square is missing, or a term is counted twice"))
    found.append((0.5, "the 2 of a square's derivative is missing, or a 1/2 too many"))
    for name, value in scalars.items():
        if value not in (0.0, 1.0):
            found += _powers(value, name)
            if 0 < value < 1:
                found += _powers(1 - value, f"(1 - {name})")
    for one, where in sizes.items():
        found += _powers(math.sqrt(one), f"sqrt({one}), and {one} is {where}", powers=(1, -1))
        found += _powers(one, f"{one}, and {one} is {where}", powers=(2, -2))
        for other, there in sizes.items():
            if one < other:
                words = f"{one} ({where}) and {other} ({there})"
                found += [
                    (one * other, f"the product of {words}"),
                    (1 / (one * other), f"1 over the product of {words}"),
                ]
                found += [(one / other, f"the quotient of {words}"), (other / one, f"the inverse quotient of {words}")]
        found += [(2 * one, f"2 times {one}, and {one} is {where}"), (2 / one, f"2 over {one}, and {one} is {where}")]
        found += [(one / 2, f"{one}/2, and {one} is {where}"), (1 / (2 * one), f"1/(2*{one}), and {one} is {where}")]
        found += [(one / (one - 1), f"n/(n - 1) with n = {one}, {where}: Bessel's correction")]
        found += [((one - 1) / one, f"(n - 1)/n with n = {one}, {where}: Bessel's correction")]
    found += [(float(number), f"{number}, a whole number") for number in range(1, 101)]
    found += [(1 / number, f"1/{number}") for number in range(3, 101)]
    found += [(10.0**power, "a power of ten") for power in range(-6, 7)]
    found += [
        (math.log(2), "log 2: another base of the logarithm"),
        (1 / math.log(2), "1/log 2: another base of the logarithm"),
    ]
    found += [
        (math.log(10), "log 10: another base of the logarithm"),
        (1 / math.log(10), "1/log 10: another base of the logarithm"),
    ]
    found += [(math.sqrt(2), "sqrt 2"), (1 / math.sqrt(2), "1/sqrt 2"), (math.pi, "pi"), (2 * math.pi, "2 pi")]
    return found


def _powers(value: float, words: str, powers: tuple[int, ...] = (1, -1, 2, -2)) -> list[tuple[float, str]]:
    shown = {
        1: f"it is {words}",
        -1: f"it is 1/{words}",
        2: f"it is the square of {words}",
        -2: f"it is 1 over the square of {words}",
    }
    return [(float(np.float64(value) ** power), shown[power]) for power in powers]
