"""Mixtures of subgradients: the least squares with bounds behind them."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

pytest.importorskip("torch")
from torch_reference.checker.kinks.least_squares import bounded_least_squares
from torch_reference.checker.kinks.mixtures import mixture

ENTRIES = st.floats(-4, 4).map(lambda number: round(number, 2))


@given(st.data(), st.integers(1, 7), st.integers(1, 6))
def test_least_squares_with_bounds_meets_the_conditions_of_an_optimum(data, rows, columns):
    matrix = data.draw(arrays(float, (rows, columns), elements=ENTRIES))
    matrix[0] += 0.01 * (np.abs(matrix).max(axis=0) == 0)  # a column of zeros is no step
    target = data.draw(arrays(float, rows, elements=ENTRIES))
    x = bounded_least_squares(matrix, target)
    assert ((x >= 0) & (x <= 1)).all()
    slope = matrix.T @ (matrix @ x - target) / np.linalg.norm(matrix, axis=0)
    small = 1e-9 * (
        1 + np.linalg.norm(target)
    )  # slopes round by 1e-15 of the target, times the condition of the matrix
    assert (slope[x == 0] >= -small).all()
    assert (slope[x == 1] <= small).all()
    assert (np.abs(slope[(x > 0) & (x < 1)]) <= small).all()


@given(st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_a_mixture_is_found_also_where_many_would_do(seed, count):
    rng = np.random.default_rng(seed)
    steps = list(rng.normal(size=(count, 3, 2)))
    residual = np.tensordot(rng.integers(0, 2, count), steps, axes=1)
    # sums of twelve numbers near 1 round by less than 1e-14
    np.testing.assert_allclose(mixture(steps, residual, np.full((3, 2), 1e-15)), residual, atol=1e-12)


def test_twice_a_step_is_no_mixture(rng):
    step = rng.normal(size=(4, 3))
    closest = mixture([step], 2 * step, np.full((4, 3), 1e-15))
    np.testing.assert_array_equal(closest, step)


@pytest.mark.parametrize(
    ("matrix", "target", "x"),
    [
        ([[2.0]], [1.0], [0.5]),
        ([[2.0]], [3.0], [1.0]),
        ([[2.0]], [-1.0], [0.0]),
        ([[2.0]], [0.0], [0.0]),
        ([[1e-8]], [2.5e-9], [0.25]),  # however short or long a step is
        ([[1e8]], [2.5e7], [0.25]),
        ([[1e8, 0.0], [0.0, 1e-8]], [2.5e7, 7.5e-9], [0.25, 0.0]),  # the rest is rounding beside the target
        ([[1.0], [0.0]], [1.5e-14, 1.0], [1.5e-14]),
        ([[1.0], [0.0]], [0.9e-14, 1.0], [0.0]),
        ([[1.0, 0.0], [0.0, 1.0]], [0.25, 0.75], [0.25, 0.75]),
        ([[1.0, 0.0], [0.0, 1.0]], [-2.0, 3.0], [0.0, 1.0]),
        ([[4.0, 1.0], [0.0, 1.0]], [4.0, 3.0], [0.75, 1.0]),
        ([[1.0, 1.0], [0.0, 1.0]], [1.0, -1.0], [1.0, 0.0]),
        ([[1.0, 2.0], [0.0, -1.0]], [2.0, 1.0], [1.0, 0.2]),
    ],
)
def test_small_problems(matrix, target, x):
    np.testing.assert_allclose(bounded_least_squares(np.array(matrix), np.array(target)), x, rtol=1e-12, atol=0)
