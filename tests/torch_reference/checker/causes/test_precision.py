"""Noise of a lower precision and finite differences: each threshold from both sides, and what is asked for."""

import numpy as np
import pytest

pytest.importorskip("torch")
from torch_reference.checker.case import Case
from torch_reference.checker.causes.precision import _noise, _steps, finite_differences, imprecise
from torch_reference.checker.formats import BFLOAT16, FLOAT16, FLOAT32, FLOAT64

INSIDE = "The formula is right, but intermediate results or sums are kept in {} inside."


def case(manual, reference, returned=FLOAT64, values=()):
    reference = np.asarray(reference, float)
    manual = np.asarray(manual, float)
    return Case("w", manual, reference, np.full(reference.shape, 2.0**-20), {"w": values}, 2.0**-52, returned)


def never(amount):
    raise AssertionError("nothing else is asked for")


def test_a_gradient_returned_coarsely_may_be_computed_so():
    both = [(FLOAT32, np.array([0.25, 0.25])), (FLOAT16, np.array([0.5, 0.5]))]
    at_the_limit = case([1.25, 2], [1, 2], FLOAT32)
    assert imprecise(at_the_limit, both, never) == INSIDE.format("float32")
    assert imprecise(case([1.25, 2], [1, 2], FLOAT16), both, never) == INSIDE.format("float32")
    assert imprecise(case([1.5, 2], [1, 2], BFLOAT16), both, never) == INSIDE.format("float16")
    assert imprecise(case([1.5, 2], [1, 2], FLOAT32), both, lambda amount: None) is None
    assert imprecise(case([1.75, 2], [1, 2], BFLOAT16), both, never) is None
    assert imprecise(case([np.inf, 2], [1, 2], BFLOAT16), [(FLOAT32, np.full(2, np.inf))], never) is None


def test_noise_is_another_one_at_a_neighbouring_point():
    given = case([[1, 2], [3.25, 4]], [[1, 2], [3, 4]])
    asked = []

    def moved(last):
        def ask(amount):
            asked.append(amount)
            return given.reference + np.array([[0, 0], [0.25 if len(asked) < last else -0.25, 0]]), given.reference

        return ask

    words = (
        "The formula is right, but the error is noise of the size that float32 arithmetic leaves. "
        "Most digits are lost at [1, 0]: to a lower precision, or to a difference of large numbers."
    )
    both = [(FLOAT32, np.full((2, 2), 0.25)), (FLOAT16, np.full((2, 2), 1.0))]
    assert imprecise(given, both, moved(3)) == words
    assert asked == [4 * FLOAT32.epsilon, 8 * FLOAT32.epsilon, 12 * FLOAT32.epsilon]
    asked.clear()
    assert imprecise(given, both, moved(4)) is None
    assert len(asked) == 3  # the next precision would explain it too, and is not asked for
    asked.clear()
    assert imprecise(given, both[1:], moved(1)) == words.replace("float32", "float16")
    assert asked == [4 * FLOAT16.epsilon]
    assert imprecise(given, [(FLOAT32, np.full((2, 2), 0.2))], never) is None


@pytest.mark.parametrize(("error", "noise"), [(0.5, False), (0.49, True), (1.5, False), (1.51, True), (1, False)])
def test_an_error_is_noise_if_it_changes_by_more_than_half(error, noise):
    assert _noise(case([3], [2]), lambda amount: (np.array([2.0 + error]), np.array([2.0])), 1.0) is noise


def test_no_noise_is_seen_where_the_function_refuses():
    assert not _noise(case([3], [2]), lambda amount: None, 1.0)
    assert not _noise(case([3], [2]), lambda amount: (np.array([[2.5]]), np.array([2.0])), 1.0)


def differences(errors, second, third=None, reference=None, values=None, asked=None):
    """Return what is said of errors where the derivatives of the gradient are known."""
    size = len(errors)
    second, third = np.asarray(second, float), np.zeros(size) if third is None else np.asarray(third, float)
    reference = np.full(size, 64.0) if reference is None else np.asarray(reference, float)

    def slope(index, step):
        if asked is not None:
            asked.append((index, step))
        return reference[index] + step * second[index] + step**2 / 2 * third[index]

    return finite_differences(
        case(reference + errors, reference, values=np.ones(size) if values is None else values), slope
    )


WORDS = "The error is that of {} finite differences with a step of about {}."


def test_errors_of_one_sided_and_central_differences():
    second, third, step = np.array([1.0, -2, 3]), np.array([5.0, 1, -7]), 2.0**-10
    assert differences(step / 2 * second, second, third) == WORDS.format("one-sided", "9.8e-04")
    assert differences(-step / 2 * second, second, third) == WORDS.format("one-sided", "9.8e-04")
    assert differences(step**2 / 6 * 64 * third, 0 * second, 64 * third) == WORDS.format("central", "9.8e-04")
    assert differences(step**2 / 6 * 64 * third, second, 64 * third) == WORDS.format("central", "9.8e-04")
    assert differences(step * np.array([1.0, 1, 1]), second, third) is None
    assert differences([np.nan, step, step], second, third) is None


@pytest.mark.parametrize(("step", "found"), [(2.9e-3, True), (3.1e-3, False), (5e-3, False)])
def test_nobody_chooses_a_longer_step(step, found):
    second = np.array([1.0, -2, 3])
    assert (differences(step / 2 * second, second) is not None) is found


@pytest.mark.parametrize(("number", "found"), [(2, False), (3, True)])
def test_a_fair_part_of_the_entries_must_be_off(number, found):
    second = np.zeros(10)
    second[:number] = 8
    assert (differences(second * 2.0**-10, second) is not None) is found


@pytest.mark.parametrize(("size", "found"), [(1.0, True), (1.01, False), (1.9, False)])
def test_the_error_must_be_small_beside_the_largest_entry(size, found):
    second = size * np.array([1000.0, 500])
    assert (differences(second / 1000, second, reference=[-100, 1]) is not None) is found


def test_the_twelve_largest_errors_are_looked_at():
    second = np.arange(1.0, 15)
    errors = second / 1024
    second[:2] = 1000  # not those of a finite difference
    assert differences(errors, second) is not None
    second[2] = 1000
    assert differences(errors, second) is None


def test_steps_follow_the_size_of_the_input():
    asked = []
    differences([0.25, 0.125, 0.0625], [1, 1, 1], values=[-2.0, 0.0, 5e-4], asked=asked)
    assert asked == [((0,), 2e-3), ((0,), -2e-3), ((1,), 1e-6), ((1,), -1e-6), ((2,), 1e-6), ((2,), -1e-6)]


@pytest.mark.parametrize(
    ("errors", "derivatives", "constant"),
    [
        ([3, 6], [1, 2], 3),
        ([1.31, 0.69], [1, 1], 1),  # 0.296 of the error are left
        ([1.32, 0.68], [1, 1], None),  # 0.305
        ([1.6, 0.4], [1, 1], None),
        ([3], [1], None),
        ([3, 6], [0, 0], None),
        ([3, 6], [1, np.inf], None),
    ],
)
def test_the_constant_between_errors_and_derivatives(errors, derivatives, constant):
    found = _steps(np.array(errors, float), np.array(derivatives, float))
    assert found == (constant if constant is None else pytest.approx(constant))
