"""Which gradients are handed to the search for a wrong step, and what becomes of its answer."""

from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch_reference.checker import derived as module  # noqa: E402 (needs torch)
from torch_reference.checker.allowance import Allowance  # noqa: E402
from torch_reference.checker.case import Case  # noqa: E402
from torch_reference.checker.derivations.derivation import Derivation  # noqa: E402
from torch_reference.checker.derived import _few, _moved, derived  # noqa: E402
from torch_reference.checker.reference.evaluation import Reference  # noqa: E402

WRONG = "mismatch", "All wrong."
MATCH = "match", "Right."


def case(manual, reference=(1.0, 2.0)):
    reference = np.array(reference, float)
    return Case("w", np.array(manual, float), reference, np.full(reference.shape, 1e-9), {}, 2.0**-52)


def searched(monkeypatch, answers, verdicts, **cases):
    """Return the better verdicts where searches give these answers, and what was asked of each."""
    asked, answers = [], iter(answers)

    def search(reference, target, elsewhere):
        asked.append((reference.wanted, target.wrong))
        return next(answers)

    monkeypatch.setattr(module, "derivation", search)
    reference = Reference(lambda x, y: x, {"x": np.ones(2), "y": np.ones(2)}, ("x", "y"))
    allowance = Allowance(reference, {}, 2.0**-52, 2.0**-52, 0, True)
    return derived(cases, verdicts, allowance, lambda amount, every: None), asked


def step(*affected, factor=1.0):
    return Derivation("derivation", "A step.", frozenset(affected), factor)


OFF, RIGHT, TWICE = case([5, 7]), case([1, 2]), case([2, 4])
ENDED = "mismatch", "All wrong. The search for the step that went wrong ended after 3,000 changes."
OTHER = "term", "manual = right gradient + 1 * y: the term 1 * y is too much."


@pytest.mark.parametrize(
    ("cases", "verdicts", "answers", "asked", "better"),
    [
        ({"x": OFF, "y": RIGHT}, [WRONG, MATCH], [step("x")], [(("x", "y"), ["x"])], {"x": ("derivation", "A step.")}),
        ({"x": OFF, "y": OFF}, [WRONG, WRONG], [step("x", "y")], [(("x", "y"), ["x", "y"])],
         {"x": ("derivation", "A step."), "y": ("derivation", "A step.")}),
        ({"x": OFF, "y": TWICE}, [WRONG, ("scale", "Twice.")], [None, step("x")],
         [(("x", "y"), ["x", "y"]), (("x",), ["x"])], {"x": ("derivation", "A step.")}),
        ({"x": OFF, "y": TWICE}, [WRONG, ("scale", "Twice.")], [step("x", factor=2.0)], [(("x", "y"), ["x", "y"])],
         {"x": ("scale", "A step.")}),
        ({"x": OFF, "y": TWICE}, [WRONG, ("sign", "Minus.")], [step("x", factor=-1.0)], [(("x", "y"), ["x", "y"])],
         {"x": ("sign", "A step.")}),
        ({"x": OFF, "y": TWICE}, [WRONG, ("scale", "Twice.")], [step("x")], [(("x", "y"), ["x", "y"])],
         {"x": ("derivation", "A step.")}),
        ({"x": OFF, "y": TWICE}, [WRONG, ("zero", "None.")], [step("x", factor=2.0)], [(("x", "y"), ["x", "y"])],
         {"x": ("derivation", "A step.")}),
        ({"x": OFF, "y": TWICE}, [WRONG, ("scale", "Twice.")], [step("x", "y", factor=2.0)],
         [(("x", "y"), ["x", "y"])], {"x": ("derivation", "A step."), "y": ("derivation", "A step.")}),
        ({"x": OFF, "y": RIGHT}, [WRONG, MATCH], [3000], [(("x", "y"), ["x"])], {"x": ENDED}),
        ({"x": OFF, "y": TWICE}, [WRONG, ("scale", "Twice.")], [3000, None],
         [(("x", "y"), ["x", "y"]), (("x",), ["x"])], {"x": ENDED}),
        ({"x": OFF, "y": RIGHT}, [WRONG, MATCH], [None], [(("x", "y"), ["x"])], {"x": WRONG}),
        ({"x": OFF, "y": TWICE}, [WRONG, ("kink", "Valid.")], [None], [(("x",), ["x"])], {"x": WRONG}),
        ({"x": OFF, "y": case([[2, 4]])}, [WRONG, ("transpose", "Other.")], [None], [(("x",), ["x"])], {"x": WRONG}),
        ({"x": TWICE, "y": RIGHT}, [("scale", "Twice."), MATCH], [], [], {}),
        ({"x": OFF, "y": RIGHT}, [("term", "manual = right gradient + 1 * x: 1 * x: is"), MATCH], [], [], {}),
        ({"x": OFF, "y": RIGHT}, [("term", "manual = right gradient + 1 * sign(x): is"), MATCH], [], [], {}),
        ({"x": OFF, "y": RIGHT}, [OTHER, MATCH], [step("x")], [(("x", "y"), ["x"])],
         {"x": ("term", f"{OTHER[1]} A step.")}),
        ({"x": OFF, "y": RIGHT}, [OTHER, MATCH], [3000], [(("x", "y"), ["x"])], {}),
    ],
)  # fmt: skip
def test_what_is_searched_and_said(monkeypatch, cases, verdicts, answers, asked, better):
    found = searched(monkeypatch, answers, dict(zip(cases, verdicts, strict=True)), **cases)
    assert found == (better, asked)


@pytest.mark.parametrize(("number", "size", "few"), [(3, 200, True), (4, 200, False), (3, 199, False), (1, 201, True)])
def test_few_of_many(number, size, few):
    manual = np.zeros(size)
    manual[:number] = 1
    assert _few(case(manual, np.zeros(size))) is few


@pytest.mark.parametrize(("dtype", "amount"), [(np.float64, 1e-3), (np.float32, 1e-3), (np.float16, 2.0**-8)])
def test_inputs_move_by_a_thousandth_or_four_roundings(dtype, amount):
    asked = []
    reference = Reference(lambda x: (x**2).sum(), {"x": np.ones(2, dtype)}, ("x",))
    moved = {"x": np.array([2.0, 3.0])}

    def probe(*question):
        asked.append(question)
        return {"x": np.array([4.0, 7.0])}, moved

    there, target = _moved({"x": OFF}, ["x"], reference, probe)
    assert asked == [(amount, False)]
    assert there.inputs is moved
    assert target.base["x"].tolist() == [4, 6]
    assert target.goal["x"].tolist() == [4, 7]


@pytest.mark.parametrize(("answer", "wrong"), [([4.0 + 0.9e-9, 6.0], []), ([4.0, 7.0], ["x"])])
def test_what_is_right_elsewhere_is_held_to_the_right_gradient(answer, wrong):
    reference = Reference(lambda x: (x**2).sum(), {"x": np.ones(2)}, ("x",))
    found = {"x": np.array(answer)}, {"x": np.array([2.0, 3.0])}
    _, target = _moved({"x": OFF}, ["x"], reference, lambda *_: found)
    assert target.wrong == wrong
    assert target.met({"x": torch.tensor(answer, dtype=torch.float64)})
    assert not target.met({"x": torch.tensor([4.0, 6.5], dtype=torch.float64)})


def test_nothing_is_known_elsewhere_where_the_function_refuses():
    reference = SimpleNamespace(coarsest=SimpleNamespace(epsilon=2.0**-52))
    assert _moved({"x": OFF}, ["x"], reference, lambda amount, every: None) is None
    assert _moved({"x": OFF}, ["x"], reference, lambda amount, every: ({"y": np.ones(2)}, {})) is None
