"""What is said of a function's outputs and of gradients that there are none of, each step by itself."""

from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch_reference.checker.case import Case  # noqa: E402 (needs torch)
from torch_reference.checker.functions import examination  # noqa: E402
from torch_reference.checker.functions.examination import (  # noqa: E402
    _absent,
    _better_elsewhere,
    _check_outputs,
    _coarser,
    _probed,
    _rounded,
    _tolerance,
)
from torch_reference.checker.functions.probes.calls import Answer  # noqa: E402

MATCH = "match", "Right."
WRONG = "mismatch", "Wrong."


@pytest.mark.parametrize(
    ("given", "right", "tolerance"),
    [
        ([1.0, 2.0], [1.0, 2.0], [0.5, 1.0]),
        ([1.0, 6.0], [1.0, 2.0], [1.5, 3.0]),  # an answer three times as large rounds three times as much
        ([1.0, 1.0], [1.0, 2.0], [0.5, 1.0]),
        ([1.0, 9.0], [0.0, 0.0], [0.5, 1.0]),
        ([[1.0], [2.0]], [1.0, 2.0], [[0.5], [1.0]]),
        ([1.0, 2.0, 2.0], [1.0, 2.0], [1.0, 1.0, 1.0]),
    ],
)
def test_how_far_two_answers_may_differ(given, right, tolerance):
    found = _tolerance(np.array(given), np.array(right), np.array([0.25, 0.5]))
    assert found.tolist() == tolerance


SIZE = torch.Size([2, 3])
ONES = torch.ones(2, 3)


@pytest.mark.parametrize(
    ("outputs", "constants", "words"),
    [
        ({"b": ONES}, {}, "the function returns b, but the reference output"),
        (
            {"output": ONES.int()},
            {},
            "the function returns torch.int32: there is no real floating output to differentiate",
        ),
        ({"output": ONES}, {"output": ONES.long()}, "output is torch.float32, but the reference's is torch.int64"),
        ({"output": ONES[:1]}, {}, r"output has shape \(1, 3\), but the reference's has shape \(2, 3\)"),
    ],
)
def test_outputs_that_do_not_correspond(outputs, constants, words):
    with pytest.raises(ValueError, match=words):
        _check_outputs(outputs, {"output": SIZE}, constants)


def test_outputs_correspond_in_name_kind_and_number():
    _check_outputs({"output": ONES.reshape(6).double()}, {"output": SIZE}, {})
    both, shapes = {"output.0": ONES, "output.1": ONES.long()}, {"output.0": SIZE, "output.1": SIZE}
    _check_outputs(both, shapes, {"output.1": ONES.int()})
    with pytest.raises(ValueError, match=r"output.1 is torch.int64, but the reference's is floating"):
        _check_outputs(both, shapes, {})


def experiment(**required):
    inputs = {name: torch.ones(2, requires_grad=needs) for name, needs in required.items()}
    return SimpleNamespace(inputs=inputs, wanted=tuple(inputs))


NOT_REQUIRED = "match", "It is None, and the given tensor does not require a gradient."
MISSING = "missing", "It is None, but the right gradient is not zero."


@pytest.mark.parametrize(
    ("required", "verdict", "found"),
    [
        ({"x": True, "y": False}, WRONG, {"y": NOT_REQUIRED}),
        ({"x": True, "y": True}, WRONG, {"y": MISSING}),
        ({"x": False, "y": False}, WRONG, {"y": MISSING}),
        ({"x": True, "y": True}, MATCH, {}),
        ({"x": True, "y": True}, ("rounded", "Right."), {}),
    ],
)
def test_no_gradient(required, verdict, found):
    answer = Answer({}, {"x": torch.ones(2), "y": None})
    assert _absent(experiment(**required), answer, "", {"x": WRONG, "y": verdict}) == found


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (
            "RuntimeError: Function returned an invalid gradient at index 0 - got [2] but expected shape [3]\nmore",
            "shape",
        ),
        ("RuntimeError: returned an invalid gradient", "missing"),
        ("ValueError: a shape", "missing"),
    ],
)
def test_a_backward_pass_that_fails(error, code):
    found = _absent(experiment(x=True), Answer({}, {"x": None, "y": None}), error, {})
    assert found == dict.fromkeys("xy", (code, f"The backward pass raises {error.splitlines()[0]}"))


@pytest.mark.parametrize(
    ("inputs", "returned", "expected", "lower"),
    [
        (torch.float32, torch.float16, torch.float32, "float16"),
        (torch.float32, torch.float16, torch.float16, None),  # so does the reference
        (torch.float32, torch.float32, torch.float32, None),
        (torch.float64, torch.float32, torch.float64, "float32"),
        (torch.float16, torch.float16, torch.float32, None),
        (torch.float32, torch.int32, torch.float32, None),
    ],
)
def test_outputs_of_a_lower_precision(inputs, returned, expected, lower):
    point = SimpleNamespace(
        inputs={"x": torch.ones(2, dtype=torch.float64), "w": torch.ones(2, dtype=inputs)},
        wanted=("x", "w"),
        expected=lambda native: {"output": torch.ones(2, dtype=expected if native else torch.float64)},
    )
    message = f"It is returned as {lower}, a lower precision than the inputs' and the reference's."
    found = _coarser(point, {"output": torch.ones(2, dtype=returned)})
    assert found == ({"output": ("precision", message)} if lower else {})


def test_what_keeps_to_the_coarse_budget_only_is_rounded():
    found = SimpleNamespace(
        cases={"x": 1, "y": 2, "z": 3}, allowance=None, verdicts={"x": MATCH, "y": MATCH, "z": WRONG}
    )
    budget = SimpleNamespace(is_fine=lambda allowance, name: name == "y", coarseness=lambda allowance, name: 12.345)
    words = "with float32 accumulators its error would be 12 times smaller."
    assert _rounded(found, budget) == {
        "x": ("rounded", f"Right, but rounded more often than once a stored tensor: {words}")
    }


@pytest.mark.parametrize(
    ("verdict", "code", "overruled"),
    [
        (MATCH, "missing", True),
        (("kink", "Valid."), "layout", True),
        (WRONG, "missing", False),
        (WRONG, "side-effect", True),
        (("scale", "Twice."), "layout", False),
        (("scale", "Twice."), "upstream", True),
        (("term", "More."), "upstream", False),
        (("nonfinite", "NaN."), "upstream", False),
    ],
)
def test_what_a_probe_overrules(verdict, code, overruled):
    probes = ((code, lambda trial: {"x": "first"}), ("side-effect", lambda trial: {"y": "second"}))
    found = _probed(None, {"x": verdict, "y": MATCH}, probes)
    assert found == {"x": (code, "first") if overruled else verdict, "y": ("side-effect", "second")}


@dataclass(frozen=True)
class Elsewhere:
    """A point where a function is right, and how much there is to be seen of that."""

    inputs: dict
    reference: tuple
    code: str = "match"
    seed: int = 0

    def run(self):
        if self.reference is None:
            raise ValueError("refused")
        return SimpleNamespace(answer=lambda upstream, seed: None)

    def judge(self, *_):
        reference = np.array(self.reference, float)
        case = Case("x", reference, reference, np.full(reference.shape, 0.5), {}, 0.0)
        return SimpleNamespace(cases={"x": case}, verdicts={"x": (self.code, "There.")}), None


@pytest.mark.parametrize(
    ("reference", "code", "verdict", "kind", "found"),
    [
        ((1, 1, 0), "match", "mismatch", "upstream", "upstream"),
        ((1, 1, 0), "kink", "mismatch", "ignored", "upstream"),
        ((1, 1, 0), "rounded", "partial", "layout", "layout"),
        ((1, 0), "match", "mismatch", "upstream", None),  # half of the entries are zero
        ((0.5, 0.5, 1, 1), "match", "mismatch", "upstream", None),  # to rounding
        ((1, 1, 0), "mismatch", "mismatch", "upstream", None),
        ((1, 1, 0), "match", "match", "upstream", None),
        ((1, 1, 0), "match", "scale", "upstream", None),
        ((1, 1, 0), "match", "scale", "layout", "layout"),
        ((1, 1, 0), "match", "partial", "ignored", None),
        (None, "match", "mismatch", "upstream", None),
    ],
)
def test_what_is_right_at_a_simpler_point(monkeypatch, reference, code, verdict, kind, found):
    simpler = [("First.", kind, {}, {}), ("Second.", kind, {}, {})]
    monkeypatch.setattr(examination, "simplified", lambda inputs, upstream: iter(simpler))
    monkeypatch.setattr(examination, "unheard", lambda trial: iter(()))
    point, trial = Elsewhere({}, reference, code), SimpleNamespace(wanted=("x",))
    verdicts = {"x": (verdict, "Here.")}
    better = _better_elsewhere(point, trial, verdicts, {}, {}, frozenset())
    assert better == ({"x": (found, "First.")} if found else {})
