"""How the room's one face asks the search: of which recordings, for how long, and what it makes of the answer."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from replays import drawn, replayed  # noqa: E402 (needs torch)

from torch_reference.checker.derivations import derivation  # noqa: E402
from torch_reference.checker.derivations.search import Explanation, changes  # noqa: E402
from torch_reference.checker.derivations.target import Target  # noqa: E402
from torch_reference.checker.reference.evaluation import Reference  # noqa: E402


def tanh(x):
    return torch.tanh(x).sum()


def posed(loss=tanh, size=3, times=1.0):
    """Return a reference, and its gradient as the target, that of the first entry so many times as large."""
    reference = Reference(loss, {"x": np.linspace(0.0, 1.0, size)}, ("x",))
    right = reference.gradients()
    right["x"][0] *= times
    return reference, Target(right, right, {"x": np.zeros(size)}, ["x"], 2.0**-52)


@pytest.fixture
def asked(monkeypatch):
    """What the search is asked, and what it answers, one answer after the other."""
    calls, answers = [], []

    def explanations(*arguments):
        calls.append(arguments)
        return answers.pop(0)

    monkeypatch.setattr(derivation, "explanations", explanations)
    return calls, answers


def ask(reference, target, elsewhere=lambda: None):
    return derivation.derivation(reference, target, elsewhere)


def test_what_was_tried_is_told_where_more_was_left(asked):
    calls, answers = asked
    answers += [([], True), ([], False)]
    assert ask(*posed()) == derivation.affordable(replayed(tanh, x=drawn(3)))
    assert ask(*posed()) is None
    assert calls[0][-1] == calls[1][-1] == derivation.affordable(replayed(tanh, x=drawn(3)))


@pytest.mark.parametrize("loss", [torch.nn.functional.silu, torch.nn.functional.gelu])
def test_formulas_of_some_functions_are_looked_at_line_by_line_too(asked, loss):
    calls, answers = asked
    question = posed(lambda x: loss(x).sum())
    for ended in [(True, False), (False, True), (False, False)]:
        answers += [([], each) for each in ended]
        assert ask(*question) == next((calls[-2 + k][-1] for k in (0, 1) if ended[k]), None)
    composite, written_out = ([step.name for step in call[0].tape.steps] for call in calls[:2])
    assert len(written_out) == 2 < len(composite)


@pytest.mark.parametrize(
    ("loss", "inputs", "work", "cost"),
    [
        (tanh, {"x": (3,)}, 20_000, 1 + 2 / 10 + 7 / 50_000),
        (lambda x: torch.tanh(x).sum().exp(), {"x": (49_998,)}, 20_000, 1 + 3 / 10 + 99_998 / 50_000),
        (lambda x: torch.tanh(x).sum().exp(), {"x": (49_999,)}, 60_000, 1 + 3 / 10 + 100_000 / 50_000),
        (
            lambda x, w: (x @ w).sum(),
            {"x": (100, 200), "w": (200, 100)},
            20_000,
            1 + 2 / 10 + 50_001 / 50_000 + 100 * 200 * 100 / 2_000_000,
        ),
        (
            lambda x, w: torch.conv2d(x, w).sum(),
            {"x": (1, 4, 40, 40), "w": (16, 4, 5, 5)},
            20_000,
            1 + 2 / 10 + (6_400 + 1_600 + 20_736 + 1) / 50_000 + 20_736 * 100 / 2_000_000,
        ),
    ],
)
def test_the_work_that_a_recording_is_worth_is_shared_among_tries_that_cost_as_much(loss, inputs, work, cost):
    made = replayed(loss, **{name: drawn(*shape) for name, shape in inputs.items()})
    assert derivation.affordable(made) == int(work / cost)


def test_the_first_recording_that_explains_it_ends_the_search(asked):
    calls, answers = asked
    replay = replayed(tanh, x=drawn(3))
    change = next(iter(changes(replay, ["x"])))
    answers += [([Explanation((change,), 2.0, frozenset({"x"}))], True)]
    found = ask(*posed(lambda x: torch.nn.functional.silu(x).sum()))
    assert (found.code, found.affected, found.factor) == (change.code, {"x"}, 2.0)
    assert found.message.endswith("and the result is multiplied by 2.")
    assert len(calls) == 1


def test_the_second_point_has_to_take_the_same_steps(asked):
    calls, answers = asked
    answers += [([], False)] * 3
    same, other = posed(times=1.0), posed(lambda x: torch.sin(x).sum())
    for moved in (same, other, None):
        ask(*posed(), lambda moved=moved: moved)
    replay, target = calls[0][2]()
    assert [step.name for step in replay.tape.steps] == ["tanh", "sum"]
    assert target is same[1]
    assert calls[1][2]() is None
    assert calls[2][2]() is None


@pytest.mark.parametrize(("times", "believed"), [(1 + 0.98e-9, True), (1 + 1.02e-9, False)])
def test_a_recording_has_to_give_autograd_s_gradients(times, believed):
    reference, target = posed(times=times)  # the first entry is the largest: tanh'(0) = 1
    for composite in (True, False):
        assert (derivation.replayed(reference, target, composite) is not None) == believed


def test_what_cannot_be_recorded_is_not_explained(asked):
    def fails(x):
        raise ArithmeticError

    _, target = posed()
    assert ask(Reference(fails, {"x": np.ones(3)}, ("x",)), target) is None
    assert asked[0] == []
