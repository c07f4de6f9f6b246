"""What an explanation says: the operation, its line and its turns, what it did there, and the factor beside it."""

from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
from replays import drawn, replayed  # noqa: E402 (needs torch)

from torch_reference.checker.derivations.change import Change  # noqa: E402
from torch_reference.checker.derivations.search import Explanation  # noqa: E402
from torch_reference.checker.derivations.site import Site  # noqa: E402
from torch_reference.checker.derivations.words import code, message  # noqa: E402
from torch_reference.checker.tape.steps import Place, Step  # noqa: E402

SPOT = (0, 0, 0)


def site(name="relu", call="relu", formula="", outer=0, **more):
    place = Place(call, 7, "y = f(x)", formula, outer, SPOT)
    step = Step(0, SimpleNamespace(name=name), (), None, (1,), place, False)
    return Site((step,), (step,), **more)


def change(words, at=None, **more):
    return Change("derivative", at or site(), words, lambda share: {}, 1.0, **more)


def said(words, at=None, factor=1.0, **more):
    return message([Explanation((change(words, at, **more),), factor)])


@pytest.mark.parametrize(
    ("at", "words", "expected"),
    [
        (site(), "x is lost", "relu in line 7, y = f(x): x is lost."),
        (site(), "is lost", "relu in line 7, y = f(x): it is lost."),
        (site(), "gets lost", "relu in line 7, y = f(x): it gets lost."),
        (site(), "divides twice", "relu in line 7, y = f(x): it divides twice."),
        (site(outer=9), "x", "relu in line 7, y = f(x), called in line 9: x."),
        (site("exp", "gelu", "z = x.exp()"), "x", "gelu in line 7, y = f(x) (its step exp (in gelu): z = x.exp()): x."),
        (site(turns="in its last turn"), "x", "relu in line 7, y = f(x) (in its last turn): x."),
        (site(turns="once", note="by hand"), "x", "relu in line 7, y = f(x) (once) (by hand): x."),
        (site("exp", "exp"), "its slope ({right}) is lost", "exp in line 7, y = f(x): its slope (its result) is lost."),
        (site("cos", "cos"), "its slope ({right}) is lost", "cos in line 7, y = f(x): its slope is lost."),
    ],
)
def test_the_place_and_what_happened_there(at, words, expected):
    assert said(words, at) == expected


def test_another_operation_may_be_named():
    assert said("x", named=site("tanh", "tanh")).startswith("tanh in line 7")


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (0.9e-6, "is left out"),
        (1.1e-6, "is multiplied by 1.1e-06"),
        (2.0 + 0.9e-6, "is counted twice"),
        (2.0 - 1.1e-6, "is multiplied by 2"),
        (-1.0, "has the wrong sign"),
        (1.0, "is multiplied by 1"),
        (1 / 3, "is multiplied by 0.333333"),
    ],
)
def test_how_often_a_way_is_counted(share, words):
    assert said("x {counted}", share=share) == f"relu in line 7, y = f(x): x {words}."
    assert said("x times {share}", share=share) == f"relu in line 7, y = f(x): x times {share:.6g}."


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (1.0, "."),
        (-1.0, " and the sign is wrong."),
        (2 / 3, " and the result is multiplied by 0.666667."),
        (-2.0, " and the result is multiplied by -2."),
    ],
)
def test_a_factor_is_told_last(factor, words):
    assert said("x", factor=factor) == f"relu in line 7, y = f(x): x{words}"


def test_parts_are_joined_and_others_follow_each_once():
    both = Explanation((change("x"), change("y", site("exp", "exp"))))
    one = Explanation((change("z"),))
    first = "relu in line 7, y = f(x): x; and exp in line 7, y = f(x): y."
    assert message([both]) == first
    assert message([both, one, both, one]) == f"{first} Or: relu in line 7, y = f(x): z."


LEFT_OUT = "is left out of the forward pass"


@pytest.mark.parametrize(
    ("after", "name", "words", "expected"),
    [
        (lambda p: torch.log_softmax(p, 1), "_softmax", LEFT_OUT, "reference"),
        (lambda p: torch.log_softmax(p, 1), "_softmax", "is lost", "derivative"),
        (lambda p: torch.log_softmax(p, 1) * p, "_softmax", LEFT_OUT, "derivative"),
        (torch.exp, "_softmax", LEFT_OUT, "derivative"),
        (lambda p: torch.log_softmax(torch.exp(p), 1), "exp", LEFT_OUT, "derivative"),
    ],
)
def test_softmax_before_one_that_applies_it_is_a_mistake_of_the_reference(after, name, words, expected):
    replay = replayed(lambda x: (after(torch.softmax(x, 1)) ** 2).sum(), x=drawn(3, 4))
    step = next(step for step in replay.tape.steps if step.name == name)
    explanation = Explanation((change(words, Site((step,), (step,))), change("x")))
    assert code(explanation, replay) == expected
