"""The normal distribution against 60 digits of mpmath, to the last places, in the tails too."""

import numpy as np
import pytest

from manual_backprop.layers import gaussian

mpmath = pytest.importorskip("mpmath")  # PyTorch brings it

POINTS = np.concatenate([np.linspace(-37, 9, 231), [-1e-300, -1e-8, 0.0, 1e-8]])


def exact(value):
    """Return a number of any precision as mpmath has it: NumPy's longdouble in two halves."""
    high = float(value)
    return mpmath.mpf(high) + mpmath.mpf(float(value - type(value)(high)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.longdouble])
@pytest.mark.parametrize(
    ("function", "truth"),
    [
        (gaussian.normal_density, lambda x: mpmath.exp(-x * x / 2) / mpmath.sqrt(2 * mpmath.pi)),
        (gaussian.normal_distribution, lambda x: mpmath.erfc(-x / mpmath.sqrt(2)) / 2),
    ],
)
def test_errs_by_four_units_in_the_last_place_at_most(dtype, function, truth):
    x = POINTS.astype(dtype)
    if dtype == np.float32:
        x = x[x > -12.5]  # below, the result has fewer digits than float32 has elsewhere
    computed = function(x)
    assert computed.dtype == dtype
    with mpmath.workdps(60):
        for number, result in zip(x, computed, strict=True):
            right = truth(exact(number))
            assert abs(exact(result) - right) <= 4 * float(np.finfo(dtype).eps) * right, number


def test_ends_of_the_line():
    x = np.array([-np.inf, -1e300, 1e300, np.inf])
    np.testing.assert_array_equal(gaussian.normal_distribution(x), [0, 0, 1, 1])
    np.testing.assert_array_equal(gaussian.normal_density(x), 0)
    assert np.isnan(gaussian.normal_distribution(np.array([np.nan]))).all()


def test_the_coefficients_are_those_of_mills_ratio():
    """c_m = 2/n sum_k f(t_k) cos(m θ_k) at the n zeros t_k = cos θ_k of T_n, half of it for m = 0."""
    with mpmath.workdps(60):
        nodes = 100
        angles = [mpmath.pi * (2 * k + 1) / (2 * nodes) for k in range(nodes)]

        def scaled_ratio(t):
            y = 5 * (1 + t) / (1 - t)
            return (1 + y) * mpmath.sqrt(mpmath.pi / 2) * mpmath.exp(y * y / 2) * mpmath.erfc(y / mpmath.sqrt(2))

        values = [scaled_ratio(mpmath.cos(angle)) for angle in angles]
        for m, coefficient in enumerate(gaussian.MILLS_COEFFICIENTS):
            total = sum(value * mpmath.cos(m * angle) for value, angle in zip(values, angles, strict=True))
            right = total * (2 if m else 1) / nodes
            assert abs(exact(coefficient) - right) <= 1e-19 * abs(right) + 1e-22  # the last digit that longdouble has
