"""What an explanation has to reproduce, at its boundaries."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch_reference.checker.derivations.target import Target  # noqa: E402 (needs torch)

RIGHT = np.array([1.0, -2.0, 3.0, 4.0, 5.0, -6.0])
WRONG = np.array([1.0, 2.0, 3.0, 5.0, 5.0, -6.5])
EPSILON = 2.0**-52


def target(wrong=WRONG, allowed=0.0, epsilon=EPSILON, other=RIGHT):
    manual = {"x": wrong.reshape(2, 3), "w": other}
    reference = {"x": RIGHT.reshape(2, 3), "w": other}
    explained = {name: np.broadcast_to(allowed, 6).reshape(value.shape) for name, value in reference.items()}
    return Target(manual, reference, explained, ["x"], epsilon)


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


@pytest.mark.parametrize("scale", [1.0, 2.0**-40, 2.0**40])
def test_rounding_of_the_largest_entry_is_always_allowed(scale):
    # of 6.5, the largest: 256 times as it should be and as it is, and once more; and once of the entry itself
    bound = (2 * 256 + 1) * 6.5 + 1
    goal = target(scale * WRONG, other=scale * RIGHT)
    few, many = ((1 + np.floor(bound + k) * EPSILON * np.eye(6)[0]) * WRONG for k in (0, 1))
    assert goal.met(found(scale * few, scale * RIGHT))
    assert not goal.met(found(scale * many, scale * RIGHT))


def test_what_should_be_zero_has_to_be_zero():
    zeros = target(0 * RIGHT, other=0 * RIGHT)
    assert zeros.met(found(0 * RIGHT, 0 * RIGHT))
    assert not zeros.met(found(0 * RIGHT + 1e-300, 0 * RIGHT))
    assert zeros.matched(found(RIGHT)) is None
    assert zeros.between(found(0 * RIGHT), found(RIGHT)) == 0.0
    assert target(0 * RIGHT, other=0 * RIGHT).affected(found(RIGHT)) == frozenset()


@pytest.mark.parametrize(("epsilon", "most"), [(2.0**-6, 0.0415 + 0.1610), (2.0**-4, 0.4153)])
def test_coarse_rounding_may_be_left_too_up_to_a_tenth_of_what_is_wrong(epsilon, most):
    coarse = target(allowed=100.0, epsilon=epsilon)  # 0.01 * 4.153 and the rounding of 10.31, or 0.1 * 4.153
    assert coarse.met(found(WRONG + 0.99 * most * np.eye(6)[0]))
    assert not coarse.met(found(WRONG + 1.01 * most * np.eye(6)[0]))


def test_what_is_left_may_be_little_in_units_of_rounding_alone():
    allowed = np.where(np.arange(6) == 0, 100.0, 1e-3)
    assert target(allowed=allowed).met(found(WRONG + np.eye(6)[0]))
    assert not target(allowed=100.0).met(found(WRONG + np.eye(6)[0]))


def test_a_match_comes_with_its_factor():
    assert target().matched(found(WRONG)) == 1.0
    assert target().matched(found(WRONG / 3)) == pytest.approx(3.0)
    assert target().matched(found(-WRONG)) == pytest.approx(-1.0)
    assert target().matched(found(RIGHT)) is None
    assert target().matched(found(0 * RIGHT)) is None
    assert target().matched(found(WRONG * 1.0005)) == 1.0  # near enough for a closer look
    with np.errstate(invalid="ignore"):  # a change may divide by zero
        assert target().matched(found(np.full(6, np.inf))) is None


@pytest.mark.parametrize(("epsilon", "near"), [(EPSILON, 1e-3), (2.0**-6, 2.0**-6)])
def test_how_near_a_telling_entry_has_to_be(epsilon, near):
    off = near + epsilon * (epsilon > EPSILON)  # which rounding explains besides
    for share, expected in ((0.95, 1.0), (1.05, None)):
        value = WRONG * (1 + share * off * np.eye(6)[1])
        assert target(epsilon=epsilon).matched(found(value)) == expected


@pytest.mark.parametrize(("share", "factor"), [(0.9, None), (1.2, pytest.approx(1 - 1.2 * 2.0**-6, rel=1e-3))])
def test_a_factor_that_rounding_explains_is_none(share, factor):
    value = WRONG * (1 + 2.0**-6 * np.where(np.arange(6) == 0, 2.5, share))  # too far off without a factor
    assert target(epsilon=2.0**-6).matched(found(value)) == factor


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


@pytest.mark.parametrize(("epsilon", "near"), [(EPSILON, 1e-6), (2.0**-10, 2.0**-10)])
@pytest.mark.parametrize("usual", [-1.0, 2.0])
def test_a_number_is_usual_only_very_near_to_it(usual, epsilon, near):
    for share in (-1.1, -0.9, 0.9, 1.1):
        number = usual + share * near
        result = target(epsilon=epsilon).between(found(WRONG - number), found(WRONG - number + 1))
        assert (result == usual) == (abs(share) < 1)
        assert result == pytest.approx(number, abs=near)


@pytest.mark.parametrize(
    ("epsilon", "other", "left"),
    [
        (EPSILON, RIGHT, 1e-6 * 3 * np.sqrt(6)),  # of the distance
        (2.0**-10, RIGHT, 2.0**-10 * np.linalg.norm(WRONG)),  # rounding of what is wrong
        (EPSILON, 2.0**40 * RIGHT, EPSILON * 2.0**40 * 6 + 1e-6 * 3 * np.sqrt(6)),  # and of the largest entry of all
    ],
)
def test_how_far_from_the_line_the_goal_may_lie(epsilon, other, left):
    aside = np.array([1.0, -1.0, 0.0, 0.0, 0.0, 0.0]) / np.sqrt(2)
    for share, expected in ((0.98, 3.0), (1.02, None)):
        zero = WRONG - 3 - share * left * aside
        result = target(epsilon=epsilon, other=other).between(found(zero), found(zero + 1))
        assert result is None if expected is None else result == pytest.approx(expected)


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
    assert target(allowed=1.0).affected(found(RIGHT + np.eye(6)[0] * 4.1)) == {"x"}


def test_the_telling_entries_are_the_most_wrong_and_the_largest():
    size = np.arange(1.0, 101.0)
    wrong = size.copy()
    wrong[:32] += 1.0
    one = Target({"x": wrong}, {"x": size}, {"x": np.zeros(100)}, ["x"], EPSILON)
    assert one.places["x"].tolist() == [*range(32), *range(68, 100)]
    empty = Target({"x": size[:0]}, {"x": size[:0]}, {"x": size[:0]}, ["x"], EPSILON)
    assert empty.places["x"].tolist() == []
