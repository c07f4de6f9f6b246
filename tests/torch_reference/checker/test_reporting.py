"""From the judge's cases to what people read: the worst entry, and where the mistake enters."""

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")
from torch_reference.checker.report.gradient import Entry
from torch_reference.checker.reporting import gradient_report, note


def case(manual, comparable=True):
    reference, allowed = np.arange(6.0).reshape(2, 3), np.full((2, 3), 0.5)
    excess = np.abs(manual - reference) / allowed if comparable else None
    return SimpleNamespace(
        name="x",
        manual=manual,
        reference=reference,
        allowed=allowed,
        excess=excess,
        comparable=comparable,
        wrong=excess > 1 if comparable else None,
    )


def test_the_worst_entry_is_the_one_that_exceeds_its_allowance_most():
    manual = np.array([[0.0, 1.5, 2.0], [3.0, 6.0, 7.0]])
    found = gradient_report(manual, case(manual), "mismatch", "words")
    assert found.worst == Entry((1, 1), 6.0, 4.0, 0.5)
    assert (found.wrong, found.error) == (2, 4.0)
    assert found.marked.tolist() == [[False, False, False], [False, True, True]]
    assert (found.name, found.code, found.message, found.ok) == ("x", "mismatch", "words", False)


def test_gradients_of_another_shape_have_no_worst_entry():
    found = gradient_report(np.ones(4), case(np.ones(4), comparable=False), "shape", "words")
    assert (found.worst, found.wrong, found.error, found.marked) == (None, 0, np.inf, None)
    empty = np.ones((0, 3))
    found = gradient_report(empty, SimpleNamespace(**vars(case(np.ones((2, 3)))) | {"manual": empty}), "match", "words")
    assert (found.worst, found.wrong, found.error) == (None, 0, 0.0)


ENTERS = (
    "On the way back from the loss {} is still right and {} is the first that is wrong: "
    "the mistake enters between them."
)


@pytest.mark.parametrize(
    ("depths", "right", "between"),
    [
        ({"a": 1, "b": 2, "c": 3}, "ab", ("b", "c")),
        ({"a": 1, "b": 2, "c": 3}, "a", ("a", "b")),
        ({"a": 3, "b": 2, "c": 1}, "bc", ("b", "a")),
        ({"a": 1, "b": 2, "c": 3}, "ac", ("a", "b")),
        ({"a": 1, "b": 2, "c": 2}, "ab", ("a", "c")),
        ({"a": 1, "b": 2, "c": 3}, "bc", None),
        ({"a": 1, "b": 1, "c": 3}, "ac", None),
        ({"a": 1, "b": 2, "c": 3}, "abc", None),
        ({"a": 1, "b": 2, "c": 3}, "", None),
        ({"b": 2, "c": 3}, "ab", ("b", "c")),
        ({"b": 2, "c": 3}, "bc", None),
    ],
)
def test_the_mistake_enters_between_the_last_that_is_right_and_the_first_that_is_wrong(depths, right, between):
    gradients = {name: SimpleNamespace(ok=name in right) for name in "abc"}
    expected = ENTERS.format(*between) if between else ""
    assert note(gradients, SimpleNamespace(depths=lambda: depths)) == expected
