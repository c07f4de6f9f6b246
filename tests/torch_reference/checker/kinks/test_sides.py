"""Ties in groups, and which of them matter."""

from types import SimpleNamespace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch_reference.checker.kinks.sides import (  # noqa: E402 (needs torch)
    Sides,
    _can_explain,
    _matters,
    _one_sided,
    _single,
    _turns,
    decisions_at_risk,
    other_sides,
)
from torch_reference.checker.reference.decisions import Tie  # noqa: E402
from torch_reference.checker.reference.evaluation import Reference  # noqa: E402
from torch_reference.checker.rounding import measure  # noqa: E402


def tie(decision=0, entry=0, side=1, contest=-1):
    return Tie(decision, entry, side, 1e-15, contest)


def test_one_side_of_one_decision_is_a_group():
    ties = [tie(0, 0, 1), tie(0, 1, -1), tie(1, 0, 1), tie(0, 2, 1)]
    assert _one_sided(ties) == [[ties[0], ties[3]], [ties[1]], [ties[2]]]


def test_the_rivals_of_each_contest_win_in_turn():
    two, three = [tie(0, k, contest=5) for k in range(2)], [tie(1, k, contest=5) for k in range(3)]
    turns = _turns([*two, *three, tie(2)])
    assert len(turns) == 12
    assert turns[:4] == [[two[0], three[0]], [two[1], three[1]], [two[0], three[2]], [two[1], three[0]]]
    assert _turns([tie()]) == []
    assert len(_turns([tie(contest=0)])) == 12


BASE = np.full(3, 5.0)


def sides(*limits, single=()):
    uniform = [{"x": BASE + each} for each in limits]
    return Sides({"x": BASE}, 1e-16, uniform, list(single), {"x": np.full(3, 0.5)})


@pytest.mark.parametrize(
    ("limits", "wrong", "expected"),
    [
        ([[1.0, 0, 0]], [True, False, False], True),
        ([[1.0, 0, 0]], [True, True, False], False),
        ([[1.0, 0, 0], [0, -1.0, 0]], [True, True, False], True),
        ([[0.5, 0, 0]], [True, False, False], False),
        ([[0.6, 0, 0]], [False, False, False], True),
        ([], [False, False, False], False),
    ],
)
def test_kinks_can_explain_only_entries_that_they_change(limits, wrong, expected):
    assert _can_explain(sides(*limits), {"x": np.array(wrong)}) is expected


def test_a_tie_matters_if_it_changes_an_entry_in_need_of_an_explanation():
    for limit, expected in (([1.0, 0, 0], True), ([0, 1.0, 1.0], False), ([0.5, 0, 0], False)):
        limits = {"x": BASE + limit}
        assert _matters(sides(), limits, {"x": np.array([True, False, False])}) == expected


def test_kinks_touch_what_any_side_changes():
    wrong = np.array([True, False, True])
    assert not sides().touch("x", wrong)
    assert sides([0, 1.0, 1.0]).touch("x", wrong)
    assert not sides([0.5, 1.0, 0.5]).touch("x", wrong)
    assert sides(single=[{"x": np.array([6.0, 5, 5])}]).touch("x", wrong)
    assert not sides([0, 1.0, 1.0]).touch("x", wrong[:2])


def known_effects(effects):
    """Let every tie move an entry of the gradient, and count the evaluations."""
    asked = []

    def gradients(*modes):
        moved = [entry for ties in modes[0].moves.values() for entry in ties]
        asked.append(len(moved))
        return {"x": sum((effects[each.entry] for each in moved), BASE)}

    return SimpleNamespace(reference=SimpleNamespace(gradients=gradients)), asked


WRONG = {"x": np.array([True, True, False])}


def test_groups_are_halved_until_the_ties_that_matter_stand_alone():
    effects = np.zeros((1000, 3))
    effects[[3, 700, 701], [0, 1, 2]] = 1, -1, 1
    allowance, asked = known_effects(effects)
    ties = [tie(0, number) for number in range(1000)]
    found = _single(allowance, sides(), ties, WRONG)
    assert sorted((limit["x"] - BASE).tolist() for limit in found) == [[0, -1, 0], [1, 0, 0]]
    assert asked.count(1) <= 4  # each that matters, beside one that does not
    assert max(asked) == 8
    assert len(asked) == 128 + 2 * 6
    assert _single(allowance, sides(), [], WRONG) == []


@pytest.mark.parametrize(("matter", "found"), [(128, 128), (129, 0)])
def test_so_many_ties_are_told_apart(matter, found):
    effects = np.zeros((129, 3))
    effects[:matter, 0] = 1
    allowance, _ = known_effects(effects)
    assert len(_single(allowance, sides(), [tie(0, number) for number in range(129)], WRONG)) == found


@pytest.mark.parametrize(("matter", "found"), [(68, 68), (69, 0)])
def test_a_search_that_takes_too_long_finds_nothing(matter, found):
    effects = np.zeros((128 * 4, 3))
    effects[:matter, 0] = 1
    allowance, asked = known_effects(effects)
    assert len(_single(allowance, sides(), [tie(0, number) for number in range(128 * 4)], WRONG)) == found
    assert len(asked) == 400  # 128 groups of four, each with one that matters takes two halvings


def measured(loss, *values):
    return measure(Reference(loss, {"x": np.array(values)}, ("x",)))


ALL = {"x": np.array([True, True])}


def test_each_side_of_all_ties_together_and_of_each_by_itself():
    allowance = measured(lambda x: (torch.relu(x) * torch.tensor([2.0, 3.0])).sum(), 0.0, 0.0)
    ties = decisions_at_risk(allowance)
    found = other_sides(allowance, ties, ALL)
    assert found.base["x"].tolist() == [0, 0]
    assert [each["x"].tolist() for each in found.uniform] == [[2, 3], [0, 0]]
    assert sorted(each["x"].tolist() for each in found.single) == [[0, 3], [2, 0]]
    assert found.epsilon == 2.0**-52
    assert other_sides(allowance, ties, {"x": ~ALL["x"]}).single == []
    assert other_sides(allowance, [], ALL).uniform == []


def test_rivals_win_in_turn_and_share_their_gradient():
    allowance = measured(lambda x: x.max(), 1.0, 1.0)
    found = other_sides(allowance, decisions_at_risk(allowance), ALL)
    first, turn, mean = (each["x"].tolist() for each in found.uniform)
    assert first in ([1, 0], [0, 1])
    assert turn == [1, 0]
    assert mean == [0.5, 0.5]


def test_what_lies_within_reach_of_a_kink_may_have_moved_as_far():
    allowance = measured(lambda x: (torch.relu(x) ** 2).sum() / 2, 0.0, 1.0)
    found = other_sides(allowance, [Tie(0, 0, 1, 0.125)], ALL)
    np.testing.assert_allclose(found.allowed["x"], [0.125, 0.0], atol=1e-14)
