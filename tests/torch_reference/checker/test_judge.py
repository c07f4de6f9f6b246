"""The judge's steps, each by itself: what is right, what was exchanged, what kinks and infinities explain."""

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")
from torch_reference.checker import allowance
from torch_reference.checker import judge as module
from torch_reference.checker.case import Case
from torch_reference.checker.formats import FLOAT16, FLOAT32, FLOAT64
from torch_reference.checker.judge import (
    KINK,
    MATCH,
    Given,
    _coarse_cause,
    _exchanged,
    _explained,
    _nudged,
    _obvious,
    _right,
    _slope,
    _to_explain,
    judge,
)
from torch_reference.checker.kinks.sides import Sides
from torch_reference.checker.reference.evaluation import Reference


def case(manual, reference, allowed=0.25, returned=FLOAT64, epsilon=2.0**-52):
    reference = np.array(reference, float)
    return Case("x", np.array(manual, float), reference, np.full(reference.shape, allowed), {}, epsilon, returned)


COARSE = "precision", "It is returned as float32, a lower precision than the inputs'."


@pytest.mark.parametrize(
    ("seen", "sure", "verdict"),
    [
        (case([1.25], [1]), 1.0, MATCH),
        (case([1.26], [1]), 1.0, None),
        (case([1.125], [1]), 0.5, MATCH),
        (case([1.125], [1]), 0.49, None),
        (case([[1]], [1]), 1.0, None),
        (case([1], [1], returned=FLOAT32), 1.0, COARSE),
        (case([1], [1], returned=FLOAT32, epsilon=2.0**-23), 1.0, MATCH),
        (case([1], [1], returned=FLOAT64, epsilon=2.0**-23), 1.0, MATCH),
    ],
)
def test_what_is_right(seen, sure, verdict):
    assert _right({"x": seen}, sure) == ({} if verdict is None else {"x": verdict})


def test_gradients_that_have_changed_places():
    a, b, c = [1, 2, 5], [3, 4, 9], [7, 6, 2]
    wrong = "mismatch", "Wrong."
    cases = {"a": case(b, a), "b": case(a, b), "c": case(c, c)}
    words = "It is the right gradient of {}: the two have changed places?"
    assert _exchanged(cases, {"a": wrong, "b": ("partial", "Wrong."), "c": MATCH}) == {
        "a": ("permutation", words.format("b")),
        "b": ("permutation", words.format("a")),
    }
    assert _exchanged(cases, {"a": wrong, "b": ("scale", "Twice."), "c": MATCH}) == {
        "a": ("permutation", words.format("b"))
    }
    assert _exchanged({"a": case(a, a)}, {"a": wrong}) == {}  # its own is none of another
    assert _exchanged({"a": case([b], a), "b": case(b, b)}, {"a": wrong, "b": MATCH}) == {}
    assert _exchanged({"a": case([9, 9, 9], a), "b": case(b, b)}, {"a": wrong, "b": MATCH}) == {}


def test_obvious_causes_need_a_finite_reference():
    cases = {"x": case([2, 4], [1, 2]), "y": case([np.inf, 4], [np.inf, 2]), "z": case([3, 9], [1, 2])}
    near = {name: case(each.manual, each.reference, 1e-12) for name, each in cases.items()}
    assert {name: code for name, (code, _) in _obvious(near, ["x", "y", "z"]).items()} == {"x": "scale"}
    assert _obvious(near, ["z"]) == {}


def test_entries_in_need_of_an_explanation():
    assert _to_explain(case([1, 3], [1, 2])).tolist() == [False, True]
    assert _to_explain(case([[1, 2]], [1, 2])).tolist() == [True, True]


def explained(seen, sides=None, loss=1.0, lower=()):
    allowance = SimpleNamespace(reference=SimpleNamespace(loss=lambda: loss))
    budget = SimpleNamespace(lower=lambda allowance, name: list(lower))
    return _explained(seen, allowance, sides, lambda amount, every: None, budget)


NO_DERIVATIVE = "kink", "Autograd itself is not finite there: the loss has no derivative. The rest agrees."
NOTHING = "reference", "Autograd's own gradient is not finite: there is nothing to compare with."


@pytest.mark.parametrize(
    ("manual", "reference", "loss", "verdict"),
    [
        ([0, 1], [np.inf, 1], 1.0, NO_DERIVATIVE),
        ([0, 1], [np.nan, 1], 1.0, NO_DERIVATIVE),
        ([0, 1], [np.inf, 1], np.inf, NOTHING),
        ([0, 2], [np.inf, 1], 1.0, NOTHING),
        ([np.nan, 2], [2, 1], 1.0, ("nonfinite", "NaN where autograd is finite. 1 of 2 entries are wrong: 0.")),
    ],
)
def test_where_autograd_is_not_finite(manual, reference, loss, verdict):
    assert explained(case(manual, reference), loss=loss) == verdict


def kinks(*single, base=(1.0, 2, 4, 7)):
    base = np.array(base)
    limits = [{"x": base + step} for step in single]
    return Sides({"x": base}, 0.0, [], limits, {"x": np.full(base.shape, 1e-9)})


@pytest.mark.parametrize(
    ("manual", "code", "ending"),
    [
        ([1.5, 2, 4, 7], *KINK),
        ([1.5, 4, 8, 14], "scale", "(Apart from entries at a kink of the loss.)"),
        ([3.5, 2, 4, 7], "partial", "Those at a kink of the loss are no subgradient there."),
        ([1, 2, 4, 49], "partial", "There manual is 7 times the right gradient."),
    ],
)
def test_what_kinks_explain(manual, code, ending):
    found = explained(case(manual, [1, 2, 4, 7], 1e-9), kinks([1, 0, 0, 0]))
    assert found[0] == code
    assert found[1].endswith(ending)


def test_a_gradient_returned_coarsely_is_explained_by_that():
    lower = [(FLOAT32, np.array([0.5, 0.5])), (FLOAT16, np.array([2.0, 2.0]))]
    words = "It is returned as {}, a lower precision than the inputs'."
    assert explained(case([1.5, 2], [1, 2], returned=FLOAT32), lower=lower) == ("precision", words.format("float32"))
    assert explained(case([3, 2], [1, 2], returned=FLOAT16), lower=lower) == ("precision", words.format("float16"))
    assert explained(case([1.6, 2], [1, 2], returned=FLOAT32), lower=lower)[0] != "precision"
    assert explained(case([1.5, 2], [1, 2]), lower=lower)[0] != "precision"  # it was returned in full


def test_gradients_elsewhere():
    inputs = {"x": np.array([2.0, 3.0])}
    reference = Reference(lambda x: (x**3).sum(), inputs, ("x",))
    asked = []

    def probe(amount, every):
        asked.append((amount, every))
        return {"x": np.array([5.0, 6.0])}, {"x": np.array([1.0, 2.0])}

    manual, right = _nudged("x", reference, probe, 0.5)
    assert (manual.tolist(), right.tolist(), asked) == ([5, 6], [3, 12], [(0.5, True)])
    assert _nudged("y", reference, probe, 0.5) is None
    assert _nudged("x", reference, lambda amount, every: None, 0.5) is None
    assert _slope("x", reference, (1,), 1.0) == 48
    assert _slope("x", reference, (0,), -1.0) == 3
    assert inputs["x"].tolist() == [2, 3]


def judged(*, search=False, **manual):
    """Judge gradients of the sum of x^3 and w^2 x^2 at small whole numbers."""
    inputs = {"x": np.array([1.0, 2, 3]), "w": np.array([1.0, 3, 2])}
    reference = Reference(lambda x, w: (x**3).sum() + (w * x).square().sum(), inputs, tuple(manual))
    given = {name: Given(np.array(value, float), FLOAT64) for name, value in manual.items()}
    return judge(given, reference, inputs, lambda amount, every: None, search=search)


X, W = [5, 48, 51], [2, 24, 36]


@pytest.mark.parametrize(
    ("manual", "codes", "draws"),
    [
        ({"x": X, "w": W}, ["match", "match"], 2),
        ({"x": X, "w": np.array(W) * 3}, ["match", "scale"], 24),
        ({"x": W, "w": X}, ["permutation", "permutation"], 24),
        ({"x": X, "w": [2, 24, 37]}, ["match", "partial"], 24),
        ({"x": [6.1, 41.3, 50.2], "w": W}, ["mismatch", "match"], 24),
        ({"x": np.array(X) * (1 + np.array([3e-9, -2e-9, 1e-9])), "w": W}, ["mismatch", "match"], 24),
    ],
)
def test_the_closer_look_that_a_disagreement_gets(manual, codes, draws):
    found = judged(**manual)
    assert [found.verdicts[name][0] for name in manual] == codes
    assert list(found.cases) == list(manual)
    assert found.allowance.draws == draws


@pytest.mark.parametrize(
    ("manual", "codes", "draws"),
    [
        ({"x": X, "w": W}, ["match", "match"], 1),
        ({"x": X, "w": np.array(W) * 3}, ["match", "scale"], 1),  # no draw could mend that
        ({"x": -np.array(X), "w": [1, 24, 38]}, ["sign", "partial"], 6),
        ({"x": [6.1, 41.3, 50.2], "w": W}, ["mismatch", "match"], 6),
    ],
)
def test_where_draws_are_dear_an_obvious_cause_ends_the_closer_look(monkeypatch, manual, codes, draws):
    monkeypatch.setattr(allowance, "LARGE", 6)
    found = judged(**manual)
    assert [found.verdicts[name][0] for name in manual] == codes
    assert found.allowance.draws == draws
    assert found.allowance.extra.keys() == (set() if codes == ["match", "match"] else {"x", "w"})


def test_a_reference_without_a_loss_cannot_judge():
    reference = Reference(lambda x: (x / 0).sum(), {"x": np.ones(2)}, ("x",))
    found = judge({"x": Given(np.ones(2), FLOAT64)}, reference, {}, lambda amount, every: None)
    assert found.verdicts == {"x": ("reference", "The loss of reference is inf: it cannot judge a gradient.")}


def test_what_is_asked_of_a_gradient_that_nothing_explains_to_the_last_bit(monkeypatch):
    asked = []
    monkeypatch.setattr(module, "imprecise", lambda case, lower, nudged: asked.append([each for each, _ in lower]))
    monkeypatch.setattr(module, "finite_differences", lambda case, slope: "finite differences")
    both = [(FLOAT32, np.full(2, 0.5)), (FLOAT16, np.full(2, 2.0))]
    allowance = SimpleNamespace(reference=None)
    for manual, lower in (([1.5, 2], []), ([1.6, 2], [FLOAT16])):  # the first was asked for already, within 0.5
        budget = SimpleNamespace(lower=lambda allowance, name: both)
        found = _coarse_cause(case(manual, [1, 2], 1e-9), allowance, lambda amount, every: None, budget, True)
        assert found == ("precision", "finite differences")
        assert asked.pop() == lower
    monkeypatch.setattr(module, "imprecise", lambda case, lower, nudged: "noise")
    assert _coarse_cause(case([1.6, 2], [1, 2], 1e-9), allowance, None, budget, False) == ("precision", "noise")
    none = SimpleNamespace(lower=lambda allowance, name: [])
    assert _coarse_cause(case([1.6, 2], [1, 2], 1e-9), allowance, None, none, False) == ("precision", "noise")


def test_a_wrong_step_is_searched_for_unless_that_is_declined(monkeypatch):
    asked = []
    monkeypatch.setattr(module, "derived", lambda cases, verdicts, allowance, probe: asked.append(list(cases)) or {})
    inputs = {"x": np.array([1.0, 2, 3])}
    reference = Reference(lambda x: (x**3).sum(), inputs, ("x",))
    for manual, search, count in (([4, 3, 9], {}, 1), ([4, 3, 9], {"search": False}, 0), ([6, 24, 54], {}, 0)):
        judge({"x": Given(np.array(manual, float), FLOAT64)}, reference, {}, lambda amount, every: None, **search)
        assert len(asked) == count
        asked.clear()
