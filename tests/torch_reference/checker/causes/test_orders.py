"""The right values in another order: which order is said, and chance is none."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

pytest.importorskip("torch")
from torch_reference.checker.case import Case
from torch_reference.checker.causes.structure import permuted

RIGHT = "The right values"


def exactly(manual, reference):
    reference = np.asarray(reference, float)
    return Case("x", np.asarray(manual, float), reference, np.zeros(reference.shape), {}, 0.0)


@given(st.integers(0, 2**32 - 1), st.integers(0, 2))
def test_any_order_along_any_axis_is_found(seed, axis):
    rng = np.random.default_rng(seed)
    reference = rng.normal(size=(4, 5, 3))
    order = rng.permutation(reference.shape[axis])
    assume((order != np.arange(len(order))).any())
    message = permuted(exactly(np.take(reference, order, axis), reference))
    assert message is not None
    assert f"axis {axis}" in message


@pytest.mark.parametrize(
    ("manual", "reference", "words"),
    [
        ([2, 1], [1, 2], RIGHT + ", reversed along axis 0."),
        ([[2, 1, 3], [5, 6, 4]][::-1], [[2, 1, 3], [5, 6, 4]], RIGHT + ", reversed along axis 0."),
        ([[3, 1, 2], [4, 6, 5]], [[2, 1, 3], [5, 6, 4]], RIGHT + ", reversed along axis 1."),
        ([[4, 6, 5], [3, 1, 2]], [[2, 1, 3], [5, 6, 4]], RIGHT + ", reversed along axes 0, 1."),
        ([2, 4, 5, 9, 1], [1, 2, 4, 5, 9], RIGHT + ", shifted by 1 (and wrapped around) along axis 0 of length 5."),
        ([5, 9, 1, 2, 4], [1, 2, 4, 5, 9], RIGHT + ", shifted by 3 (and wrapped around) along axis 0 of length 5."),
        ([2, 1, 4, 5, 9], [1, 2, 4, 5, 9], RIGHT + " in another order along axis 0: 0 holds what belongs to 1, "
         "1 holds what belongs to 0."),
        ([1, 4, 9, 5, 2], [1, 2, 4, 5, 9], RIGHT + " in another order along axis 0: 1 holds what belongs to 2, "
         "2 holds what belongs to 4, 4 holds what belongs to 1."),
        ([2, 1, 5, 4, 9], [1, 2, 4, 5, 9], RIGHT + " in another order along axis 0: 0 holds what belongs to 1, "
         "1 holds what belongs to 0, 2 holds what belongs to 3, ...."),
        ([[1, 4, 2, 3], [5, 8, 6, 7]], [[1, 2, 3, 4], [5, 6, 7, 8]], RIGHT + " in another order along axis 1: "
         "1 holds what belongs to 3, 2 holds what belongs to 1, 3 holds what belongs to 2."),
        (5e-324 * np.array([3, 1, 4, 2]), 5e-324 * np.array([1, 3, 4, 2]), RIGHT + " in another order along axis "
         "0: 0 holds what belongs to 1, 1 holds what belongs to 0."),
        ([9, 1, 2], [1, 2, 4], RIGHT + ", shifted by 1 along axis 0."),
        ([2, 4, 9], [1, 2, 4], RIGHT + ", shifted by -1 along axis 0."),
        ([8, 9, 1, 2], [1, 2, 4, 5], RIGHT + ", shifted by 2 along axis 0."),
        ([4, 5, 8, 9], [1, 2, 4, 5], RIGHT + ", shifted by -2 along axis 0."),
        ([9, 9, 1, 2], [1, 2, 0, 0], RIGHT + ", shifted by 2 along axis 0."),  # half of what is not zero is enough
        ([[9, 1, 2], [8, 4, 5]], [[1, 2, 3], [4, 5, 7]], RIGHT + ", shifted by 1 along axis 1."),
        ([[1, 1], [2, 3]], [[1, 2], [3, 1]], RIGHT + " in the wrong order: an array was reshaped where its axes "
         "should have been moved?"),
    ],
)  # fmt: skip
def test_which_order(manual, reference, words):
    assert permuted(exactly(manual, reference)) == words


@pytest.mark.parametrize(
    ("manual", "reference"),
    [
        ([[1, 1], [2, 2]], [[1, 2], [2, 1]]),  # two values fall into any order by chance
        ([[9, 8, 7, 6], [1, 2, 3, 4]], [[1, 2, 3, 4], [5, 5, 7, 8]]),  # a single slice is at hand
        ([9, 5, 5, 5, 5, 5], [5, 5, 5, 5, 5, 5]),  # all the same: nothing has moved
        ([[0] * 6, [0] * 6, [1, 2, 0, 0, 0, 0]], [[0] * 6, [1, 2, 0, 0, 0, 0], [1, 2, 3, 4, 5, 6]]),
        ([9, 7, 1], [1, 2, 3]),  # not 2 along an axis of 3
        ([0, 5, 0], [0, 3, 0]),
    ],
)
def test_what_is_no_order(manual, reference):
    assert permuted(exactly(manual, reference)) is None
