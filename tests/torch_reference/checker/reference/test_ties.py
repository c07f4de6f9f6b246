"""Decisions that rounding could have taken the other way: found, taken there, and kept where they were."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
from torch.nn import functional as F  # noqa: E402, N812 (needs torch)

from torch_reference.checker.kinks.sides import decisions_at_risk  # noqa: E402
from torch_reference.checker.reference.evaluation import Reference  # noqa: E402
from torch_reference.checker.reference.reading import decided  # noqa: E402
from torch_reference.checker.reference.ties import HoldDecisions, Recorder, TieBreak, find_ties  # noqa: E402
from torch_reference.checker.rounding import measure  # noqa: E402

SEEDS = st.integers(0, 2**32 - 1)
VALUES = np.array([-1.25, 0.0, 2.0, 0.0])
# Each loss with the slopes that it has on either side of an entry that is 0 (or ties with another one).
KINKS = {
    "relu": (lambda x: F.relu(x).sum(), [0, 1]),
    "abs": (lambda x: x.abs().sum(), [-1, 1]),
    "leaky": (lambda x: F.leaky_relu(x, 0.1).sum(), [0.1, 1]),
    "clamp": (lambda x: x.clamp(min=0).sum(), [0, 1]),
    "maximum": (lambda x: torch.maximum(x, torch.zeros_like(x)).sum(), [0, 1]),
    "where": (lambda x: torch.where(x > 0, 3 * x, x).sum(), [1, 3]),
    "mask": (lambda x: (x * (x > 0)).sum(), [0, 1]),
    "detached mask": (lambda x: (x * (x.detach() > 0)).sum(), [0, 1]),
    "hardtanh": (lambda x: F.hardtanh(x, 0.0, 5.0).sum(), [0, 1]),
    "softshrink": (lambda x: F.softshrink(x + 0.5).sum(), [0, 1]),
}


def rounding(loss, values):
    return measure(Reference(loss, {"x": values}, ("x",)))


@pytest.mark.parametrize("name", KINKS)
def test_both_sides_of_a_kink_are_found_and_reached(name):
    loss, slopes = KINKS[name]
    measured = rounding(loss, VALUES)
    ties = decisions_at_risk(measured)
    assert {tie.entry for tie in ties} == {1, 3}
    reached = {tie.side: measured.reference.gradients(TieBreak([tie]))["x"][tie.entry] for tie in ties}
    assert [reached[-1], reached[1]] == slopes


@pytest.mark.parametrize("loss", [lambda x: x.max(), lambda x: x.max(0).values, lambda x: x.amax(0)])
def test_each_tied_maximum_can_win(loss):
    measured = rounding(loss, np.array([1.0, 3.0, 3.0, -2.0, 3.0]))
    winners = [
        np.flatnonzero(measured.reference.gradients(TieBreak([tie]))["x"]).tolist()
        for tie in decisions_at_risk(measured)
    ]
    assert winners == [[1], [2], [4]]


def test_each_tied_entry_of_a_window_can_win():
    image = np.array([[[[1.0, 1.0, 0.0], [0.0, 1.0, 0.0], [2.0, 0.0, 0.0]]]])
    measured = rounding(lambda x: F.max_pool2d(x, 2, stride=1).sum(), image)
    # three windows tie: rows 0-1 at columns 0-1 (three entries), columns 1-2 (two), and rows 1-2 at columns 1-2 do not
    assert sorted((tie.contest, tie.entry) for tie in decisions_at_risk(measured)) == [
        (0, 0),
        (0, 1),
        (0, 4),
        (1, 1),
        (1, 4),
    ]


@given(SEEDS)
def test_without_ties_there_are_none(seed):
    values = np.random.default_rng(seed).normal(size=6)
    assert decisions_at_risk(rounding(lambda x: F.relu(x).sum() + x.max() + x.sort().values[0], values)) == []


@pytest.mark.parametrize(
    "mask",
    [
        lambda: torch.tensor([0.0, 1, 0, 2]) > 0,
        lambda: torch.zeros(4).index_fill_(0, torch.tensor([1, 3]), 1).relu() > 0,
        lambda: torch.ones(4) * torch.tensor([0.0, 1, 0, 2]) != 0,
    ],
)
def test_what_is_decided_on_constants_is_no_tie(mask):
    assert decisions_at_risk(rounding(lambda x: (x * mask()).sum(), VALUES)) == []


def test_an_array_that_inputs_are_written_into_depends_on_them():
    def loss(x):
        padded = torch.zeros(6)
        padded[1:5] = x
        return (x * (padded[1:5] > 0)).sum()

    assert {tie.entry for tie in decisions_at_risk(rounding(loss, VALUES))} == {1, 3}


@given(SEEDS)
def test_two_comparisons_of_one_operand_are_one_tie(seed):
    values = np.random.default_rng(seed).integers(-1, 2, 5).astype(float)
    ties = decisions_at_risk(
        rounding(lambda x: torch.where(x > 0, x, torch.zeros_like(x)).sum() + (x * (x > 0)).sum(), values)
    )
    assert len(ties) == 2 * np.count_nonzero(values == 0)


@given(SEEDS)
def test_held_decisions_stay(seed):
    rng = np.random.default_rng(seed)
    first, second = rng.normal(size=(2, 4, 5))

    def loss(x):
        return F.relu(x).sum() + (2 * x).amax(1).sum() + ((3 * x).sort(1).values * torch.arange(5.0)).sum()

    recorder = Recorder()
    expected = Reference(loss, {"x": first}, ("x",)).gradients(recorder)["x"]
    held = Reference(loss, {"x": second}, ("x",)).gradients(HoldDecisions(recorder.decisions))["x"]
    np.testing.assert_array_equal(held, expected)


def test_decisions_of_another_kind_or_shape_are_not_held():
    plain, first, second = Recorder(), np.array([[1.0, -1.0]]), np.array([[-2.0, 3.0]])
    Reference(lambda x: F.relu(x).sum() + x.amax(), {"x": first}, ("x",)).gradients(plain)
    for loss, expected in (
        (lambda x: F.relu(x).sum() + 5 * x.amax(), [6, 0]),  # as they were
        (lambda x: 5 * x.amax() + F.relu(x).sum(), [0, 6]),  # in another order
        (lambda x: F.relu(x[:, 1:]).sum() + 5 * F.relu(x[:, 1:]).sum(), [0, 6]),  # of fewer entries
    ):
        found = Reference(loss, {"x": second}, ("x",)).gradients(HoldDecisions(plain.decisions))
        assert found["x"].tolist() == [expected]


def test_what_noise_moves_is_within_reach_of_the_mean_change():
    def decision(*margin):
        return SimpleNamespace(
            margin=lambda: torch.tensor(margin), near=lambda number, reach: [(number, *reach.tolist())]
        )

    def recorded(*decisions, opened=(True, True), repeats=()):
        return SimpleNamespace(decisions=decisions, open=opened, repeats=lambda number: number in repeats)

    plain = decision(1.0, 2.0), decision(5.0)
    noisy = [[decision(1.5, 2.0), decision(4.0)], [decision(1.0, 1.0)], [decision(torch.nan, 2.0), decision(1.0, 2.0)]]
    assert find_ties(recorded(*plain), noisy, 6.0) == [(0, 1.0, 2.0), (1, 6.0)]
    assert find_ties(recorded(*plain), [], 6.0) == [(0, 0.0, 0.0), (1, 0.0)]
    assert find_ties(recorded(*plain, opened=(True, False)), [], 6.0) == [(0, 0.0, 0.0)]
    assert find_ties(recorded(*plain, repeats=(0,)), [], 6.0) == [(1, 0.0)]


@pytest.mark.parametrize(
    ("kernel", "stride", "padding"), [([2, 2], [2, 2], [0, 0]), ([3, 2], [1, 2], [1, 1]), ([2], [1], [0])]
)
def test_the_windows_of_a_pool_are_those_of_pytorch(rng, kernel, stride, padding):
    x = torch.from_numpy(rng.normal(size=(2, 3, 6, 7)))
    (decision,) = decided("max_pool2d_with_indices", (x, kernel, stride, padding))
    values = torch.where(decision.windows < 0, -torch.inf, x.reshape(-1)[decision.windows.clamp(min=0)])
    pooled = F.max_pool2d(x, kernel * (2 // len(kernel)), stride * (2 // len(stride)), padding * (2 // len(padding)))
    assert torch.equal(values.amax(1), pooled.reshape(-1))
