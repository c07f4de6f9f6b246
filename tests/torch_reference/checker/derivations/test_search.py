"""The search for a change: what is tried first, what counts as found, what is kept, and when it ends."""

from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from replays import drawn, replayed  # noqa: E402 (needs torch)

from torch_reference.checker.derivations import search  # noqa: E402
from torch_reference.checker.derivations.change import TURNS  # noqa: E402
from torch_reference.checker.derivations.search import (  # noqa: E402
    Explanation,
    changes,
    confirmed,
    explanations,
    tried,
)
from torch_reference.checker.derivations.target import Target  # noqa: E402

EPSILON = 2.0**-52


def network(x, w):
    return torch.tanh(x @ w).exp().sum()


REPLAY = replayed(network, x=drawn(2, 3), w=drawn(3, 4))


def target(replay=REPLAY, **wrong):
    """Return the target of gradients by hand, of which the given ones are wrong."""
    right = {name: value.numpy() for name, value in replay.base.items()}
    allowed = {name: 1e-14 * np.abs(value) for name, value in right.items()}
    return Target(right | {name: value.numpy() for name, value in wrong.items()}, right, allowed, list(wrong), EPSILON)


def part(rank=1.0, words="", share=0.0, place=0):
    return SimpleNamespace(rank=rank, words=words, share=share, named=None, site=SimpleNamespace(place=place))


@pytest.mark.parametrize(
    ("parts", "factor", "rank"),
    [
        ([part(0.5)], 1.0, 0.5),
        ([part(0.5)], 2.0, 2.5),
        ([part(0.5, share=0.3)], 1.0, 0.5),
        ([part(0.5, "it is {counted}", 0.0)], 1.0, 0.5),
        ([part(0.5, "it is {counted}", 2.0)], 1.0, 1.5),
        ([part(0.5, "it is {counted}", -1.0 + 1e-9)], 1.0, 1.5),
        ([part(0.5, "it is {counted}", 0.3)], 1.0, 3.5),
        ([part(0.5, "it is {counted}", 2.0 + 1e-5)], 1.0, 3.5),
        ([part(0.5), part(0.25, "it is {counted}", -1.0)], -1.0, 3.75),
    ],
)
def test_how_unlikely_an_explanation_is(parts, factor, rank):
    assert Explanation(tuple(parts), factor).rank == rank


def test_likely_changes_come_first_within_each_of_three_kinds():
    def loop(x, w):
        for _ in range(2):
            x = torch.tanh(x @ w)
        return x.sum()

    replay = replayed(loop, x=drawn(3, 3), w=drawn(3, 3))
    ranks = np.array([each.rank + (TURNS if each.site.turns else 0.0) for each in changes(replay, ["x", "w"])])
    assert (np.diff(ranks) < 0).sum() == 2


def test_a_kind_that_fails_at_a_step_leaves_the_others(monkeypatch):
    def fails(*_):
        raise IndexError

    every = list(changes(REPLAY, ["x", "w"]))
    monkeypatch.setattr(search, "other_readings", fails)
    left = [change.words for change in changes(REPLAY, ["x", "w"])]
    assert 0 < len(left) < len(every)


@pytest.mark.parametrize(("share", "odd"), [(0.0, 0.0), (2.0, 1.0), (-1.0, 1.0), (0.3, 3.0)])
def test_a_way_counted_otherwise_is_tried_with_the_number_that_fits(share, odd):
    goal = target(w=share * REPLAY.base["w"])
    way = tried(REPLAY, goal, next(each for each in changes(REPLAY, ["w"]) if "operand, w, {counted}" in each.words))
    assert way.parts[0].share == pytest.approx(share, abs=1e-9)
    assert (way.factor, way.affected, way.rank) == (1.0, {"w"}, 0.5 + odd)


def test_a_factor_of_all_wrong_gradients_is_found_beside_a_change():
    change = next(each for each in changes(REPLAY, ["x", "w"]) if "its result stands where" in each.words)
    gradients = REPLAY.gradients(change.rules(0.0))
    goal = target(**{name: 3 * value for name, value in gradients.items()})
    found = tried(REPLAY, goal, change)
    assert found.factor == pytest.approx(3, rel=1e-12)
    assert found.affected == {"x", "w"}
    assert tried(REPLAY, target(x=gradients["x"], w=3 * gradients["w"]), change) is None
    assert tried(REPLAY, target(x=gradients["x"]), change) is None  # it would make w wrong too


def test_a_derivative_with_a_number_in_it_is_found_with_that_number():
    replay = replayed(lambda x, w: (x @ w).tanh().exp().sum(), x=drawn(3, 3), w=drawn(3, 3, seed=1))
    change = next(each for each in changes(replay, ["x", "w"]) if "reads w - {share} * its gradient" in each.words)
    found = tried(replay, target(replay, x=replay.gradients(change.rules(0.5))["x"]), change)
    assert found.parts[0].share == pytest.approx(0.5)
    assert (found.factor, found.affected) == (1.0, {"x"})


def test_a_derivative_in_a_loop_is_found_too():
    def loop(x, w):
        for _ in range(2):
            x = torch.tanh(x @ w)
        return x.exp().sum()

    replay = replayed(loop, x=drawn(3, 3), w=drawn(3, 3, seed=1))
    change = next(each for each in changes(replay, ["x", "w"]) if each.backward and len(each.site.group) == 2)
    wrong = replay.gradients(change.rules(0.0))
    found = tried(replay, target(replay, **wrong), change)
    assert (found.parts[0].words, found.affected) == (change.words, {"x", "w"})


def test_the_likeliest_explanation_comes_first_and_the_time_may_end():
    grad = (REPLAY.values[0].detach() @ REPLAY.values[1].detach()).tanh().exp()
    wrong = {"x": grad @ REPLAY.values[1].detach().T, "w": REPLAY.values[0].detach().T @ grad}
    asked = []

    def second():
        asked.append(True)

    found, ended = explanations(REPLAY, target(**wrong), second, 9999)
    assert not ended
    assert asked == [True]
    assert found[0].parts[0].words == "its derivative ({right}) is left out: the gradient passes unchanged"
    assert found[0].parts[0].site.step.name == "tanh"
    assert [each.rank for each in found] == sorted(each.rank for each in found)
    assert explanations(REPLAY, target(**wrong), second, 0) == ([], True)
    nothing = {name: drawn(*value.shape, seed=9) for name, value in REPLAY.base.items()}
    assert explanations(REPLAY, target(**nothing), second, 9999) == ([], False)
    assert asked == [True]


def both_wrong(function, slope):
    """Return what the search finds where two derivatives are wrong: sigmoid's is left out, and that of a function."""

    def reference(x, w, v):
        return (function(x @ w) * torch.sigmoid(x @ v)).exp().sum()

    replay = replayed(reference, x=drawn(2, 3), w=drawn(3, 4), v=drawn(3, 4, seed=1))
    x, w, v = (replay.values[replay.tape.leaves[name]].detach() for name in "xwv")
    one, other = function(x @ w), (x @ v).sigmoid()
    grad = (one * other).exp()
    first, second = slope(one, grad * other), grad * one
    wrong = {"x": first @ w.T + second @ v.T, "w": x.T @ first, "v": x.T @ second}
    return explanations(replay, target(replay, **wrong), lambda: None, 9999)


def test_two_likely_changes_explain_what_none_does_alone():
    # that softmax's derivative is its diagonal is the least likely change that is tried with another
    (found,), ended = both_wrong(lambda x: torch.softmax(x, 1), lambda p, grad: grad * p * (1 - p))
    assert [each.site.step.name for each in found.parts] in (["_softmax", "sigmoid"], ["sigmoid", "_softmax"])
    numbers = [each.site.step.number for each in found.parts]
    assert numbers == sorted(numbers, reverse=True)
    assert (found.affected, ended, found.factor) == ({"x", "w", "v"}, False, 1.0)


def test_two_changes_of_which_one_is_unlikely_are_not_tried_together():
    assert both_wrong(torch.tanh, lambda y, grad: grad * (1 - y * y) ** 2) == ([], False)


def test_one_explanation_a_place_is_kept_and_three_at_most():
    found = [Explanation((part(rank, place=place),)) for rank, place in enumerate((1, 1, 2, 3, 4))]
    assert confirmed(found, lambda: None) == [found[0], found[2], found[3]]
    elsewhere = Explanation((SimpleNamespace(**(vars(part(place=1)) | {"named": SimpleNamespace(place=7)})),))
    assert confirmed([found[0], elsewhere], lambda: None) == [found[0], elsewhere]
    assert confirmed([], lambda: pytest.fail("nothing is to be confirmed")) == []


def test_what_does_not_hold_at_a_second_point_is_dropped():
    change = next(each for each in changes(REPLAY, ["w"]) if "second operand, w, {counted}" in each.words)
    goal = target(w=0 * REPLAY.base["w"])
    found = tried(REPLAY, goal, change)
    other = replayed(network, x=drawn(2, 3, seed=3), w=drawn(3, 4, seed=4))
    for share, kept in ((0.0, [found]), (0.5, [])):
        point = other, target(other, w=share * other.base["w"])
        assert confirmed([found], lambda: point) == kept  # noqa: B023


def test_what_fails_at_a_second_point_is_dropped():
    def fails(share):
        raise RuntimeError("of another shape")

    found = Explanation((SimpleNamespace(**vars(part()) | {"rules": fails}),))
    assert confirmed([found], lambda: (REPLAY, target(w=REPLAY.base["w"]))) == []
