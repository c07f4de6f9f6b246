"""What is a mixture of the sides of a kink, to rounding, and what is not."""

import numpy as np
import pytest

pytest.importorskip("torch")
from torch_reference.checker.case import Case
from torch_reference.checker.kinks.mixtures import explains, mixture, variants
from torch_reference.checker.kinks.sides import Sides


def sides(single=(), uniform=(), base=(0, 0), allowed=0.125, epsilon=2.0**-5):
    base = np.array(base, float)
    as_gradients = [[{"x": np.array(limit, float)} for limit in limits] for limits in (uniform, single)]
    return Sides({"x": base}, epsilon, *as_gradients, {"x": np.full(base.shape, allowed)})


@pytest.mark.parametrize(
    ("given", "manual", "expected"),
    [
        (sides([[2, 0]]), [1, 0], True),
        (sides([], [[2, 0]]), [1, 0], True),
        (sides([[2, 0]]), [-1, 0], False),
        (sides([[2, 0]]), [2.5, 0.25], True),  # twice the allowance, and four roundings of the largest side
        (sides([[2, 0]]), [2.51, 0], False),
        (sides([[2, 0]]), [2, 0.26], False),
        (sides([[6, 4]], base=[4, 4]), [4, 4 + 0.75], True),
        (sides([[6, 4]], base=[4, 4]), [4, 4 + 0.76], False),
        (sides([[0.125, 0]], epsilon=0), [0.3, 0], False),  # a side within rounding is none
        (sides([[0.25, 0]], epsilon=0), [0.5, 0], True),
        (sides([[2, 0], [0, 2]]), [1, 2], True),
        (sides([[2, 0]], [[0, 2]]), [1, 1], False),  # either single ties or all of an operation
        (sides([[2, 2]]), [2, 1], False),
        (sides([[2, 0]], base=[np.inf, 0]), [5, 0.25], True),  # nothing is known of an infinite side
        (sides([[np.inf, 2]]), [0.1, 1], True),
        (sides([[np.inf, 2]]), [0.5, 1], False),
        (sides(), [0.25, 0], True),
        (sides(), [0.26, 0], False),
    ],
)
def test_mixtures_of_sides(given, manual, expected):
    assert explains(given, {"x": np.array(manual, float)}) is expected


def test_all_gradients_take_the_same_shares():
    base, step = np.zeros(1), np.ones(1)
    both = {"x": step, "y": step}
    given = Sides({"x": base, "y": base}, 0.0, [], [both], dict.fromkeys("xy", np.full(1, 1e-3)))
    assert explains(given, {"x": step / 2})
    assert explains(given, {"x": step / 2, "y": step / 2})
    assert not explains(given, {"x": step / 2, "y": step})


@pytest.mark.parametrize(
    ("given", "allowed", "references"),
    [
        (sides([[4, 6, 4, 4]], [[4, 4, 7, 4.125]], base=[4] * 4), [1, 5, 7, 1], [[4, 4, 7, 4.125]]),
        (sides([[0, 2, 0, 1]], [[0, 0, 3, 0]], base=[0] * 4), None, [[0, 0, 3, 0]]),  # too many entries change
        (sides([[0.125, 0]], [[0, 0.125]]), [1, 1], []),  # none does
        (sides([[0, 1.5], [0, np.inf]]), [1, np.inf], []),
    ],
)
def test_ways_to_look_past_a_kink(given, allowed, references):
    case = Case("x", given.base["x"], given.base["x"] + 9, np.ones(given.base["x"].shape), {}, 0.0)
    with np.errstate(over="ignore"):
        seen = [way(case) for way in variants(given, "x")]
    if allowed is not None:
        first = seen.pop(0)
        np.testing.assert_array_equal(first.allowed, allowed)
        assert first.reference is case.reference
    assert [each.reference.tolist() for each in seen] == references


def test_entries_with_a_small_allowance_decide_the_shares():
    step, residual = np.array([2.0, 2.0]), np.array([0.5, 1.5])
    np.testing.assert_allclose(mixture([step], residual, np.array([1e-6, 1.0])), [0.5, 0.5], rtol=1e-9)
    np.testing.assert_allclose(mixture([step], residual, np.array([1.0, 1e-6])), [1.5, 1.5], rtol=1e-9)
    np.testing.assert_allclose(mixture([step], residual, np.array([0.0, 4e-12])), [0.7, 0.7])  # 1e-12 of the largest
