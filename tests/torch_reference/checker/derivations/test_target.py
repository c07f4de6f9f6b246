"""What an explanation has to reproduce, at its boundaries."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch_reference.checker.derivations.target import Target  # noqa: E402 (needs torch)

RIGHT = np.array([1.0, -2.0, 3.0, 4.0, 5.0, -6.0])
WRONG = np.array([1.0, 2.0, 3.0, 5.0, 5.0, -6.5])
EPSILON = 2.0**-52


def target(wrong=WRONG, allowed=0.0):
    manual = {"x": wrong.reshape(2, 3), "w": RIGHT}
    reference = {"x": RIGHT.reshape(2, 3), "w": RIGHT}
    return Target(manual, reference, {name: np.full(v.shape, allowed) for name, v in reference.items()}, ["x"], EPSILON)


def found(x, w=RIGHT):
    return {"x": torch.from_numpy(np.asarray(x).reshape(2, 3)), "w": torch.from_numpy(np.asarray(w))}


def test_it_is_met_by_the_wrong_gradients_and_the_right_ones_beside_them():
    assert target().met(found(WRONG))
    assert not target().met(found(RIGHT))
    assert not target().met(found(WRONG, 2 * RIGHT))
    assert target().met(found(WRONG / 2), share=2.0)
    assert not target().met(found(WRONG / 2, RIGHT / 2), share=2.0)


def test_a_gradient_may_be_off_by_four_allowances_and_a_hundredth_of_what_is_wrong():
    off = np.eye(6)[0]
    assert target(allowed=0.01).met(found(WRONG + 0.039 * off))
    assert not target(allowed=0.01).met(found(WRONG + 0.041 * off))
    assert target(allowed=0.01).met(found(WRONG, RIGHT + 0.039 * off))
    assert target(allowed=0.01).met(found(WRONG, RIGHT + 0.079 * off), leeway=2.0)
    distance = np.linalg.norm(WRONG - RIGHT)
    assert target(allowed=1.0).met(found(WRONG + 0.0099 * distance * off))
    assert not target(allowed=1.0).met(found(WRONG + 0.0101 * distance * off))
    assert target(allowed=1.0).met(found(WRONG, RIGHT + 3.9 * off))


def test_rounding_of_the_largest_entry_is_always_allowed():
    few, many = 500 * EPSILON * 6.5, 600 * EPSILON * 6.5
    assert target().met(found(WRONG + few * np.eye(6)[1]))
    assert not target().met(found(WRONG + many * np.eye(6)[1]))


def test_a_match_comes_with_its_factor():
    assert target().matched(found(WRONG)) == 1.0
    assert target().matched(found(WRONG / 3)) == pytest.approx(3.0)
    assert target().matched(found(-WRONG)) == pytest.approx(-1.0)
    assert target().matched(found(RIGHT)) is None
    assert target().matched(found(0 * RIGHT)) is None
    assert target().matched(found(WRONG * 1.0005)) == 1.0  # near enough for a closer look
    with np.errstate(invalid="ignore"):  # a change may divide by zero
        assert target().matched(found(np.full(6, np.inf))) is None


def test_a_factor_of_two_entries_says_nothing():
    two = {"x": np.array([1.0, 2.0])}
    one = Target({"x": np.array([2.0, 4.0])}, two, {"x": np.zeros(2)}, ["x"], EPSILON)
    assert one.matched({"x": torch.tensor([1.0, 2.0], dtype=torch.float64)}) is None
    three = {"x": np.array([1.0, 2.0, 3.0])}
    other = Target({"x": 2 * three["x"]}, three, {"x": np.zeros(3)}, ["x"], EPSILON)
    assert other.matched({"x": torch.from_numpy(three["x"])}) == 2.0


def test_the_number_between_two_changes_is_found():
    zero = WRONG - 3.0 * np.arange(6)
    assert target().between(found(zero), found(zero + np.arange(6))) == pytest.approx(3.0)
    assert target().between(found(zero), found(zero)) is None
    assert target().between(found(zero), found(zero + np.arange(6) ** 2)) is None


@pytest.mark.parametrize(
    ("share", "entries", "expected"),
    [(3.0, 4, None), (3.0, 5, 3.0), (2.0, 2, 2.0), (-1.0, 2, -1.0), (0.0, 2, 0.0), (2.0, 1, None), (-2.0, 2, None)],
)
def test_an_unusual_number_needs_five_entries_and_a_usual_one_two(share, entries, expected):
    step = np.where(np.arange(6) < entries, np.arange(1.0, 7.0), 0.0)
    zero = WRONG - share * step
    result = target().between(found(zero), found(zero + step))
    assert result is None if expected is None else result == pytest.approx(expected, abs=1e-12)


def test_affected_are_the_wrong_ones_that_differ_from_autograd():
    both = Target(
        {"x": WRONG, "w": WRONG}, {"x": RIGHT, "w": RIGHT}, {name: np.zeros(6) for name in "xw"}, ["x", "w"], EPSILON
    )
    values = {"x": torch.from_numpy(WRONG), "w": torch.from_numpy(RIGHT)}
    assert both.affected(values) == {"x"}
    assert target().affected(found(WRONG, WRONG)) == {"x"}
    assert target().affected(found(RIGHT)) == frozenset()
    assert target(allowed=1.0).affected(found(RIGHT + np.eye(6)[0] * 3.9)) == frozenset()


def test_the_telling_entries_are_the_most_wrong_and_the_largest():
    size = np.arange(1.0, 101.0)
    wrong = size.copy()
    wrong[:32] += 1.0
    one = Target({"x": wrong}, {"x": size}, {"x": np.zeros(100)}, ["x"], EPSILON)
    assert one.places["x"].tolist() == [*range(32), *range(68, 100)]
    empty = Target({"x": size[:0]}, {"x": size[:0]}, {"x": size[:0]}, ["x"], EPSILON)
    assert empty.places["x"].tolist() == []
