"""What the two calls of `manual` tell: what it changes, keeps or draws, as far as rounding does not explain it."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch_reference import assert_gradients_match, crosscheck  # noqa: E402 (needs torch)
from torch_reference.checker.gradients import _side_effect  # noqa: E402

ONE, ALLOWED = np.array([1.0, 2.0]), np.array([0.5, 0.25])
DIFFERENT = "manual answers differently when it is called again with the same inputs: it keeps or draws something."
TWICE = f"{DIFFERENT} The second answer is twice the first: it adds up what it returned before."


@pytest.mark.parametrize(
    ("again", "message"),
    [
        ([1.0, 2.0], ""),
        ([1.5, 1.75], ""),
        ([1.51, 2.0], DIFFERENT),
        ([1.0, 1.74], DIFFERENT),
        ([2.0, 4.0], TWICE),
        ([2.0, 4.1], DIFFERENT),
        ([1.0], DIFFERENT),
        ([np.nan, 2.0], DIFFERENT),
        (None, DIFFERENT),
    ],
)
def test_a_second_answer_may_differ_by_rounding(again, message):
    again = None if again is None else np.array(again)
    assert _side_effect(ONE, again, ALLOWED, set()) == message
    changed = "manual changes its input a, b."
    assert _side_effect(ONE, again, ALLOWED, {"b", "a"}) == changed


def test_another_type_or_an_allowance_of_another_shape():
    assert _side_effect(ONE, ONE.astype(np.float32), ALLOWED, set()) == DIFFERENT
    assert _side_effect(ONE, ONE.copy(), np.ones(3), set()) == ""
    assert _side_effect(ONE, ONE + 1e-9, np.ones(3), set()) == DIFFERENT


def test_effects_come_before_other_verdicts():
    calls = []

    def manual(x, w):
        calls.append(x)
        return {"x": 2 * x, "w": 2 * w * len(calls)}

    def reference(x, w):
        return (x * x).sum() + (w * w).sum()

    report = crosscheck(manual, reference, {"x": ONE, "w": ONE})
    assert [(gradient.code, gradient.message) for gradient in report.gradients.values()] == [
        ("match", "Agrees with autograd to rounding."),
        ("side-effect", TWICE),
    ]


@pytest.mark.parametrize("number", [1, 2])
def test_an_input_that_one_of_the_calls_changes(number):
    calls = []

    def manual(x):
        calls.append(number)
        gradient = {"x": 2 * x}
        if len(calls) == number:
            x[0] = 9
        return gradient

    found = crosscheck(manual, lambda x: (x * x).sum(), {"x": ONE}).gradients["x"]
    assert (found.code, found.message) == ("side-effect", "manual changes its input x.")
    assert len(calls) == 2


def test_a_loss_that_depends_on_no_input_is_a_mistake_of_the_reference():
    report = crosscheck(lambda x: {"x": x}, lambda x: x.detach().sum(), {"x": ONE})
    found = report.gradients["x"]
    words = "The loss of reference depends on none of the floating inputs: is it detached?"
    assert (found.code, found.message, found.reference.tolist()) == ("reference", words, [0.0, 0.0])


@pytest.mark.parametrize("check", [crosscheck, assert_gradients_match])
def test_the_seed_is_that_of_random_numbers_in_the_reference(check):
    def first_drawn(**options):
        drawn = []

        def reference(x):
            drawn.append(float(torch.rand(())))
            return (x * x).sum()

        check(lambda x: {"x": 2 * x}, reference, {"x": ONE}, **options)
        return drawn[0]

    assert first_drawn() == first_drawn(seed=0) != first_drawn(seed=1)


def test_the_assertion_shows_the_table():
    assert_gradients_match(lambda x: {"x": 2 * x}, lambda x: (x * x).sum(), {"x": ONE})
    with pytest.raises(AssertionError, match=r"(?s)hand-derived gradients differ from autograd.*x +\(2,\) +scale"):
        assert_gradients_match(lambda x: {"x": 4 * x}, lambda x: (x * x).sum(), {"x": ONE})
