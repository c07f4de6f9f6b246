"""Passes in blocks of rows give what one pass gives."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("torch")
from torch_reference.checker import blocks as module
from torch_reference.checker.allowance import raised
from torch_reference.checker.blocks import all_finite, blocks
from torch_reference.checker.case import Case, agree, fit
from torch_reference.checker.causes.diagnosis import simple_cause

SHAPES = st.sampled_from([(), (1,), (7,), (0, 3), (3, 0), (5, 4), (4, 3, 2)])


def results(shape, seed, factor):
    rng = np.random.default_rng(seed)
    reference, allowed = rng.standard_normal(shape), rng.uniform(1e-9, 1e-8, shape)
    manual = factor * reference + rng.uniform(-1, 1, shape) * allowed
    case = Case("x", manual, reference, allowed, {}, 2.0**-23)
    agreed = agree(manual, reference, allowed, factor)
    pooled = [raised(allowed.copy(), 1, values) for values in (None, reference)]
    return [case.excess, case.nontrivial, *pooled, fit(manual, reference, allowed, 1e-7), agreed, simple_cause(case)]


@settings(deadline=None)
@given(SHAPES, st.integers(0, 2**32), st.sampled_from([1.0, 1.001, -1.0]), st.integers(1, 9))
def test_blocks_of_any_size_give_the_same(shape, seed, factor, size):
    whole = results(shape, seed, factor)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BLOCK", size)
        array = np.zeros(shape)
        for rows in blocks(array):
            array[rows] += 1
        assert (array == 1).all()
        for one, other in zip(whole[:5], results(shape, seed, factor)[:5], strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-12)
        assert whole[5] == results(shape, seed, factor)[5]
        codes = [each[6] and each[6][0] for each in (whole, results(shape, seed, factor))]
        assert codes[0] == codes[1]


@pytest.mark.parametrize(("values", "finite"), [([1, 2], True), ([1e308, 1e308], True), ([1, np.inf], False)])
def test_finite_numbers_may_have_an_infinite_sum(values, finite):
    assert all_finite(np.array(values, dtype=float)) is finite
    assert not all_finite(np.array([np.nan, np.inf, -np.inf]))
