"""Right numbers in the wrong place: found whatever the order, and told where."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("torch")
from torch_reference.checker.case import Case
from torch_reference.checker.causes.structure import (
    _whole_slices,
    partly_wrong,
    permuted,
    ranges,
    transposed,
    where,
    wrong_shape,
)

SEEDS = st.integers(0, 2**32 - 1)


def case(manual, reference):
    allowed = 1e-14 * np.abs(reference) + 1e-300
    return Case("x", np.asarray(manual, float), np.asarray(reference, float), allowed, {"x": reference}, 2.0**-52)


def exactly(manual, reference):
    reference = np.asarray(reference, float)
    return Case("x", np.asarray(manual, float), reference, np.zeros(reference.shape), {}, 0.0)


@given(SEEDS)
def test_a_single_wrong_entry_is_no_order(seed):
    reference = np.random.default_rng(seed).normal(size=(4, 5))
    manual = reference.copy()
    manual[2, 3] *= 1.5
    assert permuted(case(manual, reference)) is None
    assert transposed(case(manual, reference)) is None
    assert partly_wrong(case(manual, reference)) == (
        "1 of 20 entries is wrong: [2, 3]. There manual is 1.5 times the right gradient."
    )


@pytest.mark.parametrize("axes", [(0, 1), (0, 2), (1, 2)])
def test_any_two_axes_swapped(rng, axes):
    reference = rng.normal(size=(3, 3, 3))
    assert f"Axes {axes[0]} and {axes[1]}" in (transposed(case(reference.swapaxes(*axes), reference)) or "")


@pytest.mark.parametrize(
    ("shape", "code"),
    [((1, 6), "shape"), ((6, 1), "shape"), ((2, 3), "shape"), ((4, 6), "unreduced"), ((4, 2, 6), "unreduced")],
)
def test_shapes_for_six_entries(rng, shape, code):
    manual = rng.normal(size=shape)
    reference = manual.reshape(-1) if code == "shape" else manual.reshape(-1, 6).sum(axis=0)
    assert wrong_shape(case(manual, reference))[0] == code


def test_other_values_in_another_shape_are_not_named(rng):
    assert wrong_shape(case(rng.normal(size=(4, 6)), rng.normal(size=6))) == (
        "",
        "manual has shape (4, 6), the input (6,).",
    )


def test_wrong_entries_are_told_by_row_column_or_index():
    wrong = np.zeros((4, 5), dtype=bool)
    wrong[1] = True
    assert where(wrong) == "1 of 4 rows is wrong: 1."
    assert where(wrong.T) == "1 of 4 columns is wrong: 1."
    wrong[3, 2] = True
    assert where(wrong) == "6 of 20 entries are wrong, all in rows 1, 3."
    assert where(np.array([True, False, True])) == "2 of 3 entries are wrong: 0, 2."
    assert where(np.array(True)) == "Its only entry is wrong."


@given(st.sets(st.integers(0, 30), max_size=12))
def test_ranges_say_the_same_as_the_list(indices):
    text = ranges(sorted(indices))
    said = [part.split("-") for part in text.split(", ") if part and part != "..."]
    found = [index for part in said for index in range(int(part[0]), int(part[-1]) + 1)]
    assert found == sorted(indices)[: len(found)]
    assert text.endswith("...") or len(found) == len(indices)


COUNTED = np.arange(1.0, 25)


@pytest.mark.parametrize(
    ("manual", "reference", "words"),
    [
        (COUNTED[:6].reshape(2, 3), COUNTED[:6].reshape(2, 3).T, "axes 0 and 1 are swapped."),
        (COUNTED.reshape(2, 3, 4), COUNTED.reshape(2, 3, 4).swapaxes(0, 2), "axes 0 and 2 are swapped."),
        (COUNTED.reshape(2, 3, 4, 1), COUNTED.reshape(2, 3, 4, 1).T, "all axes are reversed."),
        (COUNTED.reshape(4, 6), COUNTED.reshape(4, 6).sum(0), "the sum over axis 0 is missing."),
        (COUNTED.reshape(4, 6), COUNTED.reshape(4, 6).sum(1), "the sum over axis 1 is missing."),
        (COUNTED.reshape(4, 6), COUNTED.reshape(4, 6).mean(0), "the mean over axis 0 is missing."),
        (COUNTED.reshape(2, 3, 4), COUNTED.reshape(2, 3, 4).mean((0, 2)), "the mean over axes 0, 2 is missing."),
        (COUNTED.reshape(4, 6), COUNTED.sum(), "the sum over axes 0, 1 is missing."),
        (COUNTED.reshape(4, 6), 2 * COUNTED.reshape(4, 6).sum(0), "the sum over axis 0 is missing, and what it gives "
         "is 0.5 times the right gradient."),
        (COUNTED.reshape(4, 6), COUNTED.reshape(4, 6).sum(0) / (1 + 0.9e-6), "the sum over axis 0 is missing."),
        (COUNTED.reshape(4, 6), COUNTED.reshape(4, 6).sum(0) / 1.5, "the sum over axis 0 is missing, and what it gives "
         "is 1.5 times the right gradient."),
        (COUNTED.reshape(4, 6), COUNTED.reshape(4, 6).sum(0) / (1 + 1.5e-6), "the sum over axis 0 is missing, and "
         "what it gives is 1 times the right gradient."),
        (COUNTED.reshape(4, 6), COUNTED.reshape(4, 6).mean(0) / (1 + 1.5e-6), "the sum over axis 0 is missing, and "
         "what it gives is 4.00001 times the right gradient."),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_shape(manual, reference, words):
    shapes = f"manual has shape {manual.shape}, the input {reference.shape}: "
    assert wrong_shape(case(manual, reference))[1] == shapes + words


def test_values_that_only_need_another_shape():
    assert wrong_shape(exactly([[1, 2, 3]], [1, 2, 3])) == (
        "shape",
        "The values are right, but manual has shape (1, 3), the input (3,): return it with .reshape((3,)).",
    )


@pytest.mark.parametrize(
    ("manual", "reference"),
    [
        ([[1, 2, 3], [4, 5, 6]], [[9, 1], [2, 3], [7, 8]]),  # as if swapped, but the values are others
        ([[1, 2], [3, 4]], [-4, -6]),  # the negative of the sum
        ([[0, 0], [0, 0]], [1, 2]),
    ],
)
def test_a_shape_with_other_values_explains_nothing(manual, reference):
    assert wrong_shape(exactly(manual, reference))[0] == ""


def test_four_axes_reversed_are_no_swap(rng):
    reference = rng.normal(size=(2, 2, 2, 2))
    assert transposed(case(reference.T, reference)) == "All axes are reversed: transpose it."
    assert transposed(case(rng.normal(size=(2, 2, 2, 2)), reference)) is None
    assert transposed(case(rng.normal(size=(2, 3)), rng.normal(size=(2, 3)))) is None


@pytest.mark.parametrize(
    ("manual", "words"),
    [
        ([1, 1, 9, 7, 5], "3 of 5 entries are wrong: 2-4."),
        ([1, 7, 9, 3, 5], "4 of 5 entries are wrong: 1-4."),  # a fifth is right
        ([7, 9, 3, 5, 8], None),
        ([1, 1, 1, 0, 0], "2 of 5 entries are wrong: 3-4. They are zero in manual."),
        ([1, 0, 0, 0, 0, 0, 0], "6 of 7 entries are wrong: 1-6. They are zero in manual."),  # in whole slices
        ([1, 0, 0, 0, 0, 0, 7], None),
        ([1, 1, 3, 3], "2 of 4 entries are wrong: 2-3. There manual is 3 times the right gradient."),
        ([1, 1, 1 + 1.5e-4, 1 + 1.5e-4], "2 of 4 entries are wrong: 2-3. There manual is 1.00015 times the right "
         "gradient."),
        ([1, 1, 1 + 0.9e-4, 1 + 0.9e-4], "2 of 4 entries are wrong: 2-3."),
    ],
)  # fmt: skip
def test_how_much_must_be_right_to_be_partly_wrong(manual, words):
    assert partly_wrong(case(manual, np.ones(len(manual)))) == words


def test_scattered_zeros_are_partly_wrong_where_more_than_a_twentieth_is_right():
    manual = np.zeros((4, 5))
    manual[1, 2] = 1
    assert partly_wrong(case(manual, np.ones((4, 5)))) is None
    manual[3, 4] = 1
    assert partly_wrong(case(manual, np.ones((4, 5)))) == ("18 of 20 entries are wrong. They are zero in manual.")
    manual[0, 0] = 2
    assert partly_wrong(case(manual, np.ones((4, 5)))) is None


@pytest.mark.parametrize(
    ("wrong", "nontrivial", "whole"),
    [
        ([[1, 1, 1], [0, 0, 0]], [[1, 1, 1], [1, 1, 1]], True),
        ([[1, 0], [1, 0], [1, 0]], [[1, 1], [1, 1], [1, 1]], True),
        ([[1, 1, 1], [0, 0, 0]], [[1, 1, 1], [0, 0, 0]], False),  # nothing is right
        ([[1, 0], [0, 0]], [[1, 0], [1, 1]], True),  # as far as can be seen
        ([[1, 0], [0, 0]], [[1, 1], [1, 1]], False),
        ([[1, 0], [0, 1]], [[1, 1], [1, 1]], False),
        ([[1, 1], [1, 0]], [[1, 1], [1, 1]], False),
    ],
)
def test_whole_slices(wrong, nontrivial, whole):
    assert _whole_slices(np.array(wrong, dtype=bool), np.array(nontrivial, dtype=bool)) is whole


@pytest.mark.parametrize(
    ("shape", "places", "words"),
    [
        ((3, 5), [(1, i) for i in range(4)], "4 of 15 entries are wrong, all in row 1 and columns 0-3."),
        ((3, 5), [(0, 4), (1, 4), (2, 4), (0, 2), (1, 2), (2, 2)], "2 of 5 columns are wrong: 2, 4."),
        ((3, 5), [(0, 1), (1, 2), (2, 3)], "3 of 15 entries are wrong: [0, 1], [1, 2], [2, 3]."),
        ((2, 2), [(0, 1), (1, 0)], "2 of 4 entries are wrong: [0, 1], [1, 0]."),
        ((2, 2), [(0, 1), (1, 0), (1, 1), (0, 0)], "4 of 4 entries are wrong."),
        ((2, 2, 3), [(i, 1, j) for i in range(2) for j in range(3)], "1 of 2 indices on axis 1 is wrong: 1."),
        ((3, 2, 3), [(0, 0, 0), (0, 0, 1), (0, 1, 0), (1, 0, 0)],
         "4 of 18 entries are wrong, all in indices on axis 0 0-1 and indices on axis 2 0-1."),
        ((3, 2, 5), [(0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1)],
         "4 of 30 entries are wrong, all in index on axis 0 0 and indices on axis 2 0-1."),
    ],
)  # fmt: skip
def test_where(shape, places, words):
    wrong = np.zeros(shape, dtype=bool)
    wrong[tuple(np.transpose(places))] = True
    assert where(wrong) == words


@pytest.mark.parametrize(("shape", "words"), [((2, 2), "1 of 2 rows is"), ((2, 3), "1 of 3 columns is")])
def test_the_smaller_share_is_told(shape, words):
    wrong, nontrivial = np.zeros(shape, dtype=bool), np.ones(shape, dtype=bool)
    wrong[0, 0] = True
    nontrivial[0, 1:] = nontrivial[1:, 0] = False
    assert where(wrong, nontrivial).startswith(words)


def test_ranges_stop_after_eight():
    assert ranges(range(0, 16, 2)) == "0, 2, 4, 6, 8, 10, 12, 14"
    assert ranges([*range(0, 16, 2), 17, 18]) == "0, 2, 4, 6, 8, 10, 12, 14, ..."
    assert ranges([3, 4, 5, 7]) == "3-5, 7"
