"""Gradients that are valid one by one may still have taken different sides of a kink."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch_reference.checker import allowance  # noqa: E402 (needs torch)
from torch_reference.checker.case import Given  # noqa: E402
from torch_reference.checker.formats import FLOAT64  # noqa: E402
from torch_reference.checker.judge import KINK, MATCH, judge  # noqa: E402
from torch_reference.checker.reference.evaluation import Reference  # noqa: E402


def at_a_kink(a, b):
    """Judge gradients of relu(a + b) where that is zero."""
    inputs = {"a": np.array([1.0, 2.0]), "b": np.array([-1.0, -2.0])}
    reference = Reference(lambda a, b: torch.relu(a + b).sum(), inputs, ("a", "b"))
    given = {name: Given(np.array(value, float), FLOAT64) for name, value in (("a", a), ("b", b))}
    return judge(given, reference, inputs, lambda amount, every: None, search=False)


def test_gradients_take_the_same_side_of_a_kink(monkeypatch):
    assert at_a_kink([0, 0], [0, 0]).verdicts == {"a": MATCH, "b": MATCH}
    assert at_a_kink([1, 1], [1, 1]).verdicts == {"a": KINK, "b": KINK}
    assert at_a_kink([1, 1], [0, 0]).verdicts == {"a": KINK, "b": MATCH}
    words = "At a kink of the loss a and b are valid one by one, but took different sides of it."
    assert at_a_kink([1, 0], [0, 1]).verdicts == dict.fromkeys("ab", ("mismatch", words))
    assert at_a_kink([2, 2], [1, 1]).verdicts["b"] == KINK
    monkeypatch.setattr(allowance, "LARGE", 4)
    found = at_a_kink([2, 2], [0, 0])
    assert found.allowance.draws == 6  # a kink would come before any cause
    assert found.verdicts["a"][0] != "kink"
