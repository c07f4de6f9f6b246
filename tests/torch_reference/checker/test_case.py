"""One gradient under examination: each property at its boundary."""

import numpy as np
import pytest

pytest.importorskip("torch")
from torch_reference.checker.case import SLACK, Case, agree, difference, fit, ratio, weigh


def case(manual, reference, allowed=0.1):
    reference = np.asarray(reference, float)
    return Case("x", np.asarray(manual, float), reference, np.full(reference.shape, allowed), {}, 2.0**-52)


def test_an_entry_is_nontrivial_if_either_side_is():
    seen = case([0.05, 0.0, 5.0, 0.1], [0.0, 5.0, 0.0, 0.1])
    assert seen.nontrivial.tolist() == [False, True, True, False]


def test_an_entry_is_wrong_beyond_its_allowance():
    seen = case([1.25, 1.5, 0.0, np.nan], [1.0, 1.0, 1.0, 1.0], 0.25)
    np.testing.assert_array_equal(seen.excess, [1, 2, 4, np.inf])
    assert seen.wrong.tolist() == [False, True, True, True]
    assert not seen.right
    assert case([1.25], [1.0], 0.25).right


@pytest.mark.parametrize(
    ("count", "largest", "found"),
    [
        (3, 0.5, 3),
        (3, 0.41, 3),
        (3, 0.39, 0),  # all are near
        (4, 0.9, 0),  # no few
        (1, 1.1, 1),
    ],
)
def test_a_few_entries_that_stick_out_from_many_are_wrong_before_the_allowance_ends(count, largest, found):
    manual = np.full(250, 0.01)
    manual[:count] = largest
    assert np.count_nonzero(case(manual, np.zeros(250), 1.0).wrong) == found


@pytest.mark.parametrize(("others", "number", "found"), [(0.19, 250, 1), (0.21, 250, 0), (0.01, 190, 0), (0.0, 250, 0)])
def test_nothing_sticks_out_from_few_or_from_what_is_not_much_nearer(others, number, found):
    manual = np.full(number, others)
    manual[0] = 0.5
    assert np.count_nonzero(case(manual, np.zeros(number), 1.0).wrong) == found


@pytest.mark.parametrize(("number", "found"), [(199, 0), (200, 1), (2**19 - 1, 1), (2**19, 0)])
def test_how_many_entries_tell_that_one_sticks_out(number, found):
    manual = np.full(number, 0.01)
    manual[0] = 0.5
    assert np.count_nonzero(case(manual, np.zeros(number), 1.0).wrong) == found


def test_what_sticks_out_is_told_from_the_fourth_largest():
    manual = np.array([0.75, 0.625, 0.53125, 0.5, 0.1875, *np.linspace(0.1, 0.15, 245)])
    seen = case(np.random.default_rng(0).permutation(manual), np.zeros(250), 1.0)
    assert not seen.wrong.any()  # 0.5 is the fourth, and the limit is 1
    manual[3] = 0.25
    seen = case(np.random.default_rng(0).permutation(manual), np.zeros(250), 1.0)
    assert sorted(seen.manual[seen.wrong]) == [0.75]  # above 2.5 * 0.25, and not equal to it


def test_other_shapes_are_not_right():
    seen = case([[1.0]], [1.0])
    assert not seen.comparable
    assert not seen.right


def test_what_is_the_same_infinity_or_nan_does_not_differ():
    one = np.array([np.inf, -np.inf, np.nan, np.inf, np.nan, 1.0])
    other = np.array([np.inf, -np.inf, np.nan, -np.inf, 1.0, 3.0])
    found = difference(one, other)
    np.testing.assert_array_equal(found[:3], 0)
    assert found[3] == np.inf
    assert np.isnan(found[4])
    assert found[5] == -2


def test_a_part_of_a_case():
    part = case([1.0, 2.0, 3.0], [1.0, 5.0, 6.0]).only(np.array([False, True, True]))
    assert (part.manual.tolist(), part.reference.tolist(), part.allowed.size) == ([2, 3], [5, 6], 2)


def test_agreement_has_slack():
    one, allowed = np.array([1.0, 2.0]), np.array([0.5, 0.0])
    assert agree(one, one + np.array([SLACK * 0.5, 0]), allowed)
    assert not agree(one, one + np.array([SLACK * 0.5 + 0.1, 0]), allowed)
    assert not agree(one, one + np.array([0, 1e-9]), allowed)
    assert not agree(one, np.array([1.0, np.nan]), allowed)


def test_a_fit_trusts_entries_with_a_small_allowance():
    target, direction = np.array([2.0, 30.0]), np.array([1.0, 10.0])
    assert fit(target, direction, np.array([1e-9, 1e3]), 2.0**-52) == pytest.approx(2, rel=1e-9)
    assert fit(target, direction, np.array([1e3, 1e-9]), 2.0**-52) == pytest.approx(3, rel=1e-9)
    assert fit(target, 0 * direction, np.ones(2), 2.0**-52) == 0


def test_weights_do_not_overflow():
    one, other = weigh(np.array([1e300, 1.0]), np.array([1e200, 2.0]), np.array([1e290, 0.0]))
    assert np.isfinite(one).all()
    assert np.isfinite(other).all()
    assert one[0] == pytest.approx(1e10)
    one, other = weigh(np.zeros(2), np.zeros(2), np.ones(2))
    assert not one.any()


def test_a_ratio_must_hold_for_every_entry():
    assert ratio(case([2.0, 4.0], [1.0, 2.0], 1e-9)) == pytest.approx(2)
    assert ratio(case([2.0, 4.1], [1.0, 2.0], 1e-9)) is None
    assert ratio(case([0.0, 0.0], [1.0, 2.0], 1e-9)) is None
    assert ratio(case([np.inf, 4.0], [1.0, 2.0], 1e-9)) is None
    assert ratio(case([1.0, 2.0], [1.0, 2.0], 1e-9)) == 1


def test_a_fit_needs_no_precision():
    assert fit(np.array([2.0]), np.array([1.0]), np.array([10.0]), 0.0) == 2
    assert fit(np.array([2.0, 3.0]), np.array([1.0, 1.0]), np.array([1.0, 0.5]), 0.0) == pytest.approx(2.8)
    assert fit(np.array([2.0, 4.0]), np.array([1.0, 1.0]), np.zeros(2), 0.5) == pytest.approx(2.4)


def test_weights_are_those_of_allowances_above_a_floor():
    one, other = weigh(np.array([1e-3, 0.0]), np.array([5e-4, 2.5e-4]), np.array([0.0, 1e-3]))
    np.testing.assert_allclose(one, [1e20, 0.0])
    np.testing.assert_allclose(other, [0.5e20, 0.25])


def test_near_is_up_to_a_share_of_what_is_allowed():
    assert case([1.25], [1.0], 0.5).near(0.5)
    assert not case([1.25], [1.0], 0.5).near(0.49)
    assert case([], []).near(0.0)


def test_finite_is_what_has_the_shape_and_only_numbers():
    assert case([1.0], [2.0]).finite
    assert not case([np.inf], [2.0]).finite
    assert not case([1.0], [np.nan]).finite
    assert not case([[1.0]], [2.0]).finite
