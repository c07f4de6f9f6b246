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
