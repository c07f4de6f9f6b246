"""Each kind of decision: what is near, where it moves, and what is put back."""

import pytest

torch = pytest.importorskip("torch")
from torch_reference.checker.reference.decisions import Boundary, Contest, Order, Tie  # noqa: E402 (needs torch)


def tensor(*values):
    return torch.tensor(values, dtype=torch.float64)


def places(ties):
    return [(tie.entry, tie.side) for tie in ties]


class TestBoundary:
    def test_what_is_within_reach_may_cross_and_what_is_there_may_go_either_way(self):
        decision = Boundary(tensor(0.5, -0.5, 0.0, 2.0), tensor(0.0, 0.0, 0.0, 0.0))
        assert places(decision.near(3, tensor(0.5, 0.5, 0.0, 1.0))) == [(1, 1), (2, 1), (0, -1), (2, -1)]
        assert decision.near(3, tensor(0.4, 0.4, 0.0, 1.0))[0].decision == 3
        assert places(decision.near(3, tensor(0.4, 0.4, 0.0, 1.0))) == [(2, 1), (2, -1)]

    def test_a_tie_moves_just_across_or_as_far_as_rounding_reaches(self):
        for far in (False, True):
            decision = Boundary(tensor(0.0, 3.0, 1.0), tensor(0.0, 3.0, 1.0))
            decision.move([Tie(0, 0, -1, 0.25), Tie(0, 1, 1, 0.25)], far)
            assert decision.operand[0] < 0
            assert decision.operand[1] > 3
            assert decision.operand[2] == 1
            assert (abs(decision.operand[1] - 3) == 0.25) == far
            assert (decision.operand[0] == -0.25) == far

    def test_what_crossed_goes_back_to_its_distance(self):
        decision = Boundary(tensor(0.5, -0.5, 2.0), tensor(0.0, 1.0, 0.0))
        decision.restore(Boundary(tensor(-0.25, 0.25, 1.0), tensor(0.0, 0.0, 0.0)))
        assert decision.operand.tolist() == [-0.25, 1.25, 2.0]

    def test_the_same_limits_ask_the_same(self):
        one = Boundary(tensor(1.0), tensor(0.0))
        assert one.same_question(Boundary(tensor(2.0), tensor(0.0)))
        assert not one.same_question(Boundary(tensor(1.0), tensor(0.5)))
        assert not one.same_question(Order(tensor(1.0)))
        assert not Order(tensor(1.0)).same_question(one)


class TestContest:
    WINDOWS = torch.tensor([[0, 1, 2], [2, 3, -1]])

    def test_who_is_within_reach_of_the_winner(self):
        decision = Contest(tensor(1.0, 0.8, 0.5, 9.0), self.WINDOWS, 1)
        ties = decision.near(2, torch.full((4,), 0.1, dtype=torch.float64))
        assert [(tie.decision, tie.contest, tie.entry, tie.side) for tie in ties] == [(2, 0, 0, 1), (2, 0, 1, 1)]
        assert decision.near(2, torch.full((4,), 0.09, dtype=torch.float64)) == []

    def test_the_smallest_may_win(self):
        decision = Contest(tensor(1.0, 1.0, 5.0, 9.0), self.WINDOWS, -1)
        assert places(decision.near(0, torch.zeros(4, dtype=torch.float64))) == [(0, -1), (1, -1)]

    def test_a_tied_entry_wins_and_two_that_move_do_not_stay_tied(self):
        decision = Contest(tensor(1.0, 1.0, 1.0, 9.0), self.WINDOWS, 1)
        decision.move([Tie(0, 1, 1, 0.0, 0), Tie(0, 2, 1, 0.0, 0)], far=False)
        assert decision.operand[0] < decision.operand[1] < decision.operand[2]
        decision.move([Tie(0, 0, 1, 0.5, 0)], far=False)
        assert decision.operand[0] == 3  # four times its reach above

    def test_winner_and_loser_get_their_values_back(self):
        decision = Contest(tensor(1.0, 2.0, 0.0, 9.0), self.WINDOWS, 1)
        decision.restore(Contest(tensor(2.0, 1.0, 0.0, 8.0), self.WINDOWS, 1))
        assert decision.operand.tolist() == [2.0, 1.0, 0.0, 9.0]


class TestOrder:
    def test_any_two_of_equal_value_compete(self):
        decision = Order(tensor(3.0, 1.0, 1.5, 3.0))
        reach = torch.full((4,), 0.2, dtype=torch.float64)
        assert places(decision.near(0, reach)) == [(0, 1), (3, 1), (0, -1), (3, -1)]
        assert len(decision.near(0, reach + 0.05)) == 8

    def test_all_go_back_where_two_have_changed_places(self):
        decision = Order(tensor(1.0, 2.0))
        decision.restore(Order(tensor(3.0, 4.0)))
        assert decision.operand.tolist() == [1.0, 2.0]
        decision.restore(Order(tensor(4.0, 3.0)))
        assert decision.operand.tolist() == [4.0, 3.0]


def test_what_is_kept_cannot_be_changed_any_more():
    for decision in (
        Boundary(tensor(1.0), tensor(0.0)),
        Contest(tensor(1.0), torch.tensor([[0]]), 1),
        Order(tensor(1.0)),
    ):
        kept = decision.kept()
        decision.operand.add_(1)
        assert type(kept) is type(decision)
        assert kept.operand.tolist() == [1.0]


class TestMove:
    """What is moved lands exactly where it is said to."""

    @pytest.mark.parametrize(
        ("dtype", "zero", "relative"),
        [(torch.float64, 1e-290, 2.0**-50), (torch.float32, 2.0**-126, 2.0**-22), (torch.float16, 2.0**-14, 2.0**-9)],
    )
    @pytest.mark.parametrize("side", [1, -1])
    def test_next_to_nothing(self, dtype, zero, relative, side):
        limits = torch.tensor([0.0, 4.0, -1.0, 1.0], dtype=dtype)
        decision = Boundary(torch.full((4,), 9.0, dtype=dtype), limits)
        decision.move([Tie(0, entry, side, 100.0) for entry in range(3)], far=False)
        expected = [side * zero, 4 + side * 4 * relative, -1 + side * relative, 9]
        assert torch.equal(decision.operand, torch.tensor(expected, dtype=dtype))

    @pytest.mark.parametrize("reach", [0.25, 0.0])
    def test_as_far_as_rounding_reaches_if_that_is_more_than_nothing(self, reach):
        decision = Boundary(torch.zeros(2, 2).double(), torch.full((2, 2), 2.0).double())
        decision.move([Tie(0, 2, -1, reach), Tie(0, 1, 1, reach)], far=True)
        step = max(reach, 2 * 2.0**-50)
        assert decision.operand.tolist() == [[0, 2 + step], [2 - step, 0]]

    def test_a_single_number(self):
        decision = Boundary(torch.tensor(3.0).double(), torch.tensor(1.0).double())
        decision.move([Tie(0, 0, -1, 0.5)], far=True)
        assert decision.operand == 0.5
        assert decision.operand.shape == ()

    def test_rivals_are_passed_by_four_times_their_reach_each_further_than_the_last_of_its_contest(self):
        decision = Order(tensor(1.0, 2.0, 3.0, 4.0, 0.0))
        decision.move([Tie(0, 0, 1, 0.25, 5), Tie(0, 1, 1, 0.25, 6), Tie(0, 2, -1, 0.25, 5)], far=False)
        assert decision.operand.tolist() == [2, 3, 1, 4, 0]
        decision.move([Tie(0, 3, 1, 0.0), Tie(0, 0, 1, 0.0)], far=False)
        assert decision.operand.tolist() == [2 + 4 * 2.0**-50, 3, 1, 4 + 4 * 2.0**-50, 0]
        decision.move([Tie(0, 4, 1, 0.125)], far=True)
        assert decision.operand[4] == 0.5


def test_ties_are_listed_in_full():
    reach = tensor(0.5, 0.25, 0.0, 1.0)
    boundary = Boundary(tensor(0.5, -0.5, 0.0, -1.0), tensor(0.0, 0.0, 0.0, 0.0))
    assert boundary.near(3, reach) == [Tie(3, 2, 1, 0.0, -1), Tie(3, 3, 1, 1.0, -1), Tie(3, 0, -1, 0.5, -1),
                                       Tie(3, 2, -1, 0.0, -1)]  # fmt: skip
    order = Order(tensor(2.0, 1.0, 7.0, 1.5))
    expected = [Tie(4, entry, side, reach, -1) for side in (1, -1) for entry, reach in ((0, 0.25), (3, 0.25))]
    assert order.near(4, tensor(0.25, 0.125, 1.0, 0.25)) == expected
    assert len(order.near(4, tensor(0.25, 0.25, 1.0, 0.25))) == 6
    assert Order(tensor(1.0)).near(0, tensor(1.0)) == []


class TestWindows:
    """Contests in more than one window, some with less than their width."""

    WINDOWS = torch.tensor([[0, 1, -1], [2, 3, 4], [5, -1, -1]])
    VALUES = (1.0, 1.5, 4.0, 3.0, 3.5, 8.0)

    @pytest.mark.parametrize(
        ("side", "reach", "expected"),
        [
            (1, [0.25, 0.25, 0.25, 0.25, 0.25, 9], [(0, 0, 0.25), (1, 0, 0.25), (2, 1, 0.25), (4, 1, 0.25)]),
            (1, [0.2, 0.25, 0.5, 0.5, 0.0, 9], [(2, 1, 0.5), (3, 1, 0.5), (4, 1, 0.0)]),
            (-1, [0.25, 0.25, 0.0, 0.25, 0.25, 9], [(0, 0, 0.25), (1, 0, 0.25), (3, 1, 0.25), (4, 1, 0.25)]),
            (1, [torch.inf] * 6, [(entry, window, torch.inf) for entry, window in enumerate((0, 0, 1, 1, 1))]),
        ],
    )
    def test_who_is_near_the_winner_of_which_window(self, side, reach, expected):
        decision = Contest(tensor(*self.VALUES).reshape(2, 3), self.WINDOWS, side)
        ties = decision.near(7, tensor(*reach).reshape(2, 3))
        assert ties == [Tie(7, entry, side, far, window) for entry, window, far in expected]

    @pytest.mark.parametrize("side", [1, -1])
    def test_the_entries_of_a_window_that_another_has_won_go_back_and_no_others(self, side):
        before = Contest(side * tensor(1.0, 2.0, 4.0, 3.0, 1.0, 8.0).reshape(2, 3), self.WINDOWS, side)
        decision = Contest(side * tensor(1.5, 2.5, 4.0, 1.5, 5.0, 9.0).reshape(2, 3), self.WINDOWS, side)
        decision.restore(before)
        assert (side * decision.operand).flatten().tolist() == [1.5, 2.5, 4.0, 3.0, 1.0, 9.0]

    def test_what_stands_in_no_window_stays(self):
        windows = torch.tensor([[1, 2, -1]])
        decision = Contest(tensor(5.0, 1.0, 2.0), windows, 1)
        decision.restore(Contest(tensor(6.0, 2.0, 1.0), windows, 1))
        assert decision.operand.tolist() == [5.0, 2.0, 1.0]

    def test_what_is_asked_and_how_it_is_decided(self):
        contest, boundary = (
            Contest(tensor(1.0), self.WINDOWS, 1),
            Boundary(tensor(1.0, 2.0, 3.0), tensor(2.0, 2.0, 2.0)),
        )
        assert contest.margin() is contest.operand
        assert contest.outcomes() == []
        assert boundary.margin().tolist() == [-1, 0, 1]
        assert [outcome.tolist() for outcome in boundary.outcomes()] == [[False, False, True], [True, False, False]]
        assert contest.same_question(Contest(tensor(2.0), self.WINDOWS, -1))
        assert [each.compete for each in (contest, boundary, Order(tensor(1.0)))] == [True, False, True]
        assert contest.kept().side == 1


def test_only_what_crossed_its_limit_goes_back():
    decision = Boundary(tensor(1.0, -1.0, 0.0, 0.5, 3.0), tensor(0.0, 0.0, 0.0, 1.0, 2.0))
    decision.restore(Boundary(tensor(2.0, 2.0, 3.0, 0.0, 0.0), tensor(0.0, 0.0, 2.0, 2.0, 0.0)))
    assert decision.operand.tolist() == [1.0, 2.0, 1.0, 0.5, 2.0]


def test_an_order_of_equal_entries_is_that_of_their_places():
    decision = Order(tensor(1.0, 1.0, 2.0))
    decision.restore(Order(tensor(3.0, 4.0, 5.0)))
    assert decision.operand.tolist() == [1, 1, 2]
