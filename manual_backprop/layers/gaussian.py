"""The standard normal distribution, which gelu needs and NumPy lacks, precise to a few units in the last place.

With the density φ(x) = exp(-x²/2) / √(2π), the distribution function is Φ(-y) = φ(y) R(y) for y >= 0. R, Mills' ratio,
falls slowly from √(π/2) to 1/y, so a polynomial holds it where Φ itself underflows: (1 + y) R(y), written in
t = (y - 5) / (y + 5), which runs from -1 to 1 as y runs from 0 to infinity.

Source of the method: M. M. Shepherd and J. G. Laframboise, Chebyshev approximation of (1 + 2x) exp(x²) erfc x in
0 <= x < ∞, Mathematics of Computation 36 (1981). The coefficients are our own, computed with 60 digits for
tests/manual_backprop/layers/test_gaussian.py, which computes them again and measures the error.
"""

import numpy as np

from manual_backprop.arrays import Array

MILLS_COEFFICIENTS = tuple(
    np.longdouble(digits)
    for digits in (
        "1.1579976221305187166775",
        "-0.16334493884513978905297",
        "-0.013683136055781576406575",
        "0.030822000198100039725086",
        "-0.016220073012046806987806",
        "0.0056166910164600934863705",
        "-0.0014133933783549216280486",
        "0.0002502625460725660654637",
        "-0.000024689072397283870041248",
        "-0.0000010107964061837592256315",
        "7.4954191797405729053903e-7",
        "-7.6002742687283368758028e-8",
        "-1.1574771441328644748338e-8",
        "3.3333864725998431462584e-9",
        "7.5380396281713470189349e-11",
        "-1.1104247263727494477902e-10",
        "3.5092437765510588325177e-12",
        "3.689495386175095368434e-12",
        "-2.3376697776383093717379e-13",
        "-1.3271797523541405452983e-13",
        "9.9217069958882765537228e-15",
        "5.2760049954553790652882e-15",
        "-3.3730976941879218315739e-16",
        "-2.2804338776379945602825e-16",
        "7.496330565808626388139e-18",
        "1.0328041877290668346576e-17",
        "1.4940578561247512624874e-19",
        "-4.6770692481263286664316e-19",
        "-3.6243290268818394328011e-20",
        "1.9953750780734852870173e-20",
        "3.3063605115564683189852e-21",
    )
)
"""Of Chebyshev's polynomials in t, for (1 + y) R(y); what is left out is below 1e-20."""

LARGEST = 160
"""Beyond it φ is 0 in every precision. Its multiples of 1/16 have squares that float32 holds exactly."""


def normal_density(x: Array) -> Array:
    """Return φ(x) = exp(-x²/2) / √(2π).

    Rounding x² would cost x²/2 units in the last place. With h, the multiple of 1/16 next to |x|, h² is exact:

        exp(-x²/2) = exp(-h²/2) exp(-(|x| - h)(|x| + h)/2)
    """
    y = np.minimum(np.abs(x), LARGEST)
    h = np.round(y * 16) / 16
    return np.exp(-h * h / 2) * np.exp(-(y - h) * (y + h) / 2) / np.sqrt(2 * _pi(x))


def normal_distribution(x: Array) -> Array:
    """Return Φ(x), the integral of φ from -∞ to x: φ(y) R(y) for x = -y <= 0, and 1 - φ(y) R(y) for x = y."""
    tail = normal_density(x) * _mills_ratio(np.abs(x))
    return np.where(x < 0, tail, 1 - tail)


def _mills_ratio(y: Array) -> Array:
    """Sum c_m T_m(t) by Clenshaw's recurrence, b_m = c_m + 2 t b_(m+1) - b_(m+2), and divide by 1 + y."""
    t = 1 - 10 / (y + 5)
    smallest = np.finfo(y.dtype).eps / 16
    first, *others = (value.astype(y.dtype) for value in MILLS_COEFFICIENTS if abs(value) > smallest)
    after = after_next = np.zeros_like(t)
    for coefficient in reversed(others):
        after, after_next = coefficient + 2 * t * after - after_next, after
    return (first + t * after - after_next) / (1 + y)


def _pi(x: Array) -> np.floating:
    return np.arccos(x.dtype.type(-1))
