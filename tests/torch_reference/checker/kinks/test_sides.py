"""Ties in groups, and which of them matter."""

import numpy as np
import pytest

pytest.importorskip("torch")
from torch_reference.checker.kinks.sides import Sides, _can_explain, _matters, _one_sided, _turns
from torch_reference.checker.reference.decisions import Tie


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


def sides(*limits, single=()):
    base = np.zeros(3)
    return Sides({"x": base}, 1e-16, [{"x": np.array(each)} for each in limits], list(single), {"x": np.full(3, 0.5)})


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
        limits = {"x": np.array(limit)}
        assert _matters(sides(), limits, {"x": np.array([True, False, False])}) == expected


def test_kinks_touch_what_any_side_changes():
    wrong = np.array([True, False, True])
    assert not sides().touch("x", wrong)
    assert sides([0, 1.0, 1.0]).touch("x", wrong)
    assert not sides([0.5, 1.0, 0.5]).touch("x", wrong)
    assert sides(single=[{"x": np.array([1.0, 0, 0])}]).touch("x", wrong)
    assert not sides([0, 1.0, 1.0]).touch("x", wrong[:2])
