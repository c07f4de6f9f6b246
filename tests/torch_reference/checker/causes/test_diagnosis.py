"""Causes that are a formula's: found for any factor and any coefficient, and said with them."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

pytest.importorskip("torch")
from torch_reference.checker.case import Case
from torch_reference.checker.causes.diagnosis import coarse_cause, diagnose

SEEDS = st.integers(0, 2**32 - 1)
FACTORS = st.floats(1e-6, 1e6) | st.floats(-1e6, -1e-6)


def verdict(manual, reference, **inputs):
    allowed = 1e-14 * np.abs(reference) + 1e-300
    low = 1e-6 * np.abs(reference) + 1e-300
    case = Case("w", manual, reference, allowed, inputs, 2.0**-52)
    found = diagnose(case, lambda case: None)
    return found if found[0] != "mismatch" else coarse_cause(case, low, lambda case: None) or found


@given(SEEDS, FACTORS)
def test_any_factor(seed, factor):
    assume(abs(abs(factor) - 1) > 1e-3)
    reference = np.random.default_rng(seed).normal(size=(3, 4))
    code, message = verdict(factor * reference, reference)
    assert code == "scale"
    assert message.startswith(f"manual = {factor:.9g} *")
    assert ("wrong sign" in message) == (factor < 0)


@given(SEEDS, FACTORS)
def test_any_multiple_of_an_input(seed, coefficient):
    rng = np.random.default_rng(seed)
    reference, w = rng.normal(size=(2, 5, 4))
    code, message = verdict(reference + coefficient * w, reference, w=w)
    assert code == "term"
    assert f"{abs(coefficient):.6g} * w" in message
    assert ("missing" in message) == (coefficient < 0)


@given(SEEDS)
def test_the_negative_is_a_sign_and_no_factor(seed):
    reference = np.random.default_rng(seed).normal(size=5)
    assert verdict(-reference, reference)[0] == "sign"


@pytest.mark.parametrize(
    ("factor", "words"),
    [(8, "the mean over the batch is missing"), (1 / 8, "the mean is taken twice"), (1 / 24, "1 over the product")],
)
def test_a_factor_is_explained_by_the_sizes(rng, factor, words):
    reference = rng.normal(size=3)
    assert words in verdict(factor * reference, reference, x=np.ones((8, 3)))[1]


@pytest.mark.parametrize("factor", [0.3, 1 / 0.3, 1 / 0.7])
def test_a_factor_is_explained_by_a_named_number(rng, factor):
    reference = rng.normal(size=3)
    assert "rate" in verdict(factor * reference, reference, rate=np.array(0.3))[1]


def test_a_single_entry_is_a_multiple_only_of_what_means_something():
    reference = np.array(0.7)
    assert verdict(2 * reference, reference)[0] == "scale"
    assert verdict(1.2345 * reference, reference, w=np.array(0.123456))[0] == "mismatch"


def test_a_cause_is_found_through_the_noise_of_a_lower_precision(rng):
    reference = rng.normal(size=(6, 7))
    code, message = verdict((3 * reference).astype(np.float32).astype(float), reference)
    assert code == "scale"
    assert "lower precision" in message


@given(SEEDS)
def test_what_no_cause_explains_is_a_mismatch(seed):
    manual, reference = np.random.default_rng(seed).normal(size=(2, 4, 5))
    assert verdict(manual, reference, w=np.ones((4, 5)))[0] == "mismatch"


def test_where_nan_or_infinity_stands(rng):
    reference = rng.normal(size=(3, 4))
    manual = reference.copy()
    manual[1, 2] = np.nan
    code, message = verdict(manual, reference)
    assert (code, message) == ("nonfinite", "NaN where autograd is finite. 1 of 12 entries is wrong: [1, 2].")
