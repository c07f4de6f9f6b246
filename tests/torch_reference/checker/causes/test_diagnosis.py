"""Causes that are a formula's: found for any factor and any coefficient, and said with them."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

pytest.importorskip("torch")
from torch_reference.checker.case import Case
from torch_reference.checker.causes.diagnosis import coarse_cause, diagnose, mismatch, nonfinite, simple_cause, term

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


def exactly(manual, reference, allowed=1e-15, epsilon=2.0**-52, **inputs):
    reference = np.asarray(reference, float)
    return Case("w", np.asarray(manual, float), reference, np.full(reference.shape, allowed), inputs, epsilon)


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        (exactly([0, 0], [1, 2]), ("zero", "It is all zeros, but the right gradient is not.")),
        (exactly([-1, 2], [1, -2]), ("sign", "It is the negative of the right gradient.")),
        (exactly([3, 6], [1, 2]), ("scale", "manual = 3 * right gradient: 3, a whole number.")),
        (exactly([-3, 6], [1, -2]), ("scale", "manual = -3 * right gradient and has the wrong "
         "sign: 3, a whole number.")),
        (exactly([1.2345, 2.469], [1, 2], 1e-15), ("scale", "manual = 1.2345 * right gradient.")),
        (exactly([2], [1]), ("scale", "manual = 2 * right gradient: the 1/2 of a square is missing, or a term is "
         "counted twice.")),
        (exactly([1.2345], [1]), None),  # any number is a multiple of a single other one
        (exactly([1 + 2.0**-24, 2 + 2.0**-23], [1, 2]), ("precision", "The formula is right, but off by the factor "
         "1.0000000596: a constant was rounded to float32?")),
        (exactly([1 + 2.0**-23, 2 + 2.0**-22], [1, 2]), ("scale", "manual = 1.00000012 * right gradient.")),
        (exactly([1 + 2.0**-24], [1]), None),
        (exactly([1 + 2.0**-24, 2 + 2.0**-23], [1, 2], epsilon=2.0**-23), None),
        (exactly([8, 9], [5, 7], w=[3, 2]), ("term", "manual = right gradient + 1 * w: the term 1 * w is "
         "too much: extra, or counted twice.")),
        (exactly([2, 5], [5, 7], w=[3, 2]), ("term", "manual = right gradient - 1 * w: the term 1 * w is missing, "
         "or has the wrong sign.")),
        (exactly([7, 5], [5, 7], w=[3, -5]), ("permutation", "The right values, reversed along axis 0.")),
        (exactly([9, 5], [5, 9.5], w=[4, -4.5]), ("term", "manual = right gradient + 1 * w: the term 1 * w is "
         "too much: extra, or counted twice.")),
        (exactly([7, 6], [5, 8], w=[3, -5]), ("term", "manual = right gradient + 2 * sign(w): the term 2 * sign(w) is "
         "too much: extra, or counted twice.")),
        (exactly([8, 9], [5, 7], a=[3, 2], w=[6, 4]), ("term", "manual = right gradient + 0.5 * w: the term 0.5 * w is "
         "too much: extra, or counted twice.")),
        (exactly([7.5, 9], [5, 7], a=[3, 2, 1], b=["p", "q"]), None),
        (exactly([7.345], [5], w=[3]), None),  # 2/3 of it is no constant that anybody chooses
        (exactly([8.6], [5], w=[3]), ("term", "manual = right gradient + 1.2 * w: the term 1.2 * w is too much: extra, "
         "or counted twice.")),
        (exactly([8.69], [5], w=[3]), None),  # 1.23 has a digit too many
        (exactly([5 + 3.702, 7 + 2.468], [5, 7], w=[3, 2]), ("term", "manual = right gradient + 1.234 * w: the term "
         "1.234 * w is too much: extra, or counted twice.")),
        (exactly([30, 30], [1, 1], 1.0), None),  # nothing to be seen of the right gradient
        (exactly([np.nan, 1], [2, 1]), ("nonfinite", "NaN where autograd is finite. 1 of 2 entries are wrong: 0.")),
    ],
)  # fmt: skip
def test_one_cause(case, expected):
    assert simple_cause(case) == expected


@pytest.mark.parametrize(("excess", "code"), [(4.0, None), (4.001, "permutation")])
def test_what_comes_near_the_limit_has_no_cause(excess, code):
    found = simple_cause(exactly([1 + excess, 1], [1, 1 + excess], 1.0))
    assert (found and found[0]) == code


def test_the_infinities_that_are_named():
    assert nonfinite(exactly([np.inf, np.nan, 1], [1, 1, 1])).startswith("NaN and infinity where autograd is finite.")
    assert nonfinite(exactly([-np.inf, np.inf], [1, np.inf])).startswith("infinity where autograd is finite. 1 of 2")
    assert nonfinite(exactly([np.inf, 1], [np.inf, 1])) is None
    assert nonfinite(exactly([np.inf, 1], [np.nan, 1])) is None


def test_a_factor_must_explain_the_entry_that_is_off_most():
    reference = np.array([1.0, 2.0, 3.0])
    for left, code in ((0.17, "scale"), (0.18, None)):  # 0.192 and 0.205 of the largest difference
        manual = (1 + 1e-6) * reference + np.array([0, left * 3e-6, -left * 2e-6])
        wide = Case("w", manual, reference, np.full(3, 2e-7), {}, 2.0**-52)
        found = simple_cause(wide)
        assert (found and found[0]) == code


def test_what_no_cause_explains_in_another_shape():
    assert diagnose(exactly([[1, 2]], [4, 7]), lambda case: None) == (
        "mismatch",
        "manual has shape (1, 2), the input (2,). Reshaped: 2 of 2 entries are wrong: 0-1. "
        "The cosine of the angle to the right gradient is 0.9985.",
    )
    assert diagnose(exactly([1, 2, 3], [4, 7]), lambda case: None) == (
        "mismatch",
        "manual has shape (3,), the input (2,).",
    )


def test_what_is_asked_before_a_part():
    case = exactly([1, 5], [1, 2])
    assert diagnose(case, lambda case: "as if rounded") == ("precision", "as if rounded")
    assert diagnose(case, lambda case: None)[0] == "partial"
    assert coarse_cause(case, np.full(2, 0.5), lambda case: "so to say") == ("precision", "so to say")
    assert coarse_cause(case, np.full(2, 0.5), lambda case: None) is None
    assert coarse_cause(exactly([[1, 5]], [1, 2]), np.full(2, 0.5), lambda case: "asked") is None


@pytest.mark.parametrize(("low", "code"), [(1e-4, "scale"), (0.99, "scale"), (1.0, None)])
def test_a_coarse_cause_must_explain_what_a_lower_precision_does_not(low, code):
    found = coarse_cause(exactly([3.0001, 5.9999], [1, 2]), np.full(2, low), lambda case: None)
    assert (found and found[0]) == code


def test_the_angle_is_that_of_the_finite_entries():
    assert mismatch(exactly([3, 4, np.inf], [4, 3, 1], 0.1)).endswith(
        "The cosine of the angle to the right gradient is 0.9600."
    )
    assert mismatch(exactly([3, 4], [0, 0], 0.1)) == "2 of 2 entries are wrong: 0-1."


def test_a_term_as_large_as_rounding_is_none():
    assert term(exactly([6, 8], [5, 7], 1.0, 0.0, w=[1, 1])) is None
    assert term(exactly([6.5, 8.5], [5, 7], 1.0, 0.0, w=[1, 1])) is not None
