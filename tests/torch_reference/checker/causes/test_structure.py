"""Right numbers in the wrong place: found whatever the order, and told where."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

pytest.importorskip("torch")
from torch_reference.checker.case import Case
from torch_reference.checker.causes.structure import partly_wrong, permuted, ranges, transposed, where, wrong_shape

SEEDS = st.integers(0, 2**32 - 1)


def case(manual, reference):
    allowed = 1e-14 * np.abs(reference) + 1e-300
    return Case("x", np.asarray(manual, float), np.asarray(reference, float), allowed, {"x": reference}, 2.0**-52)


@given(SEEDS, st.integers(0, 2))
def test_any_order_along_any_axis_is_found(seed, axis):
    rng = np.random.default_rng(seed)
    reference = rng.normal(size=(4, 5, 3))
    order = rng.permutation(reference.shape[axis])
    assume((order != np.arange(len(order))).any())
    message = permuted(case(np.take(reference, order, axis), reference))
    assert message is not None
    assert f"axis {axis}" in message


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
