"""Targets of several parts, one of them counted otherwise: the gradient that cross-entropy has then."""

import pytest

torch = pytest.importorskip("torch")
from replays import drawn, replayed  # noqa: E402 (needs torch)

from torch_reference.checker.derivations.kinds.targets import other_targets  # noqa: E402
from torch_reference.checker.derivations.site import sites  # noqa: E402

X = drawn(3, 4)
LABELS = torch.tensor([2, 0, 3])


def smoothed(x, share=0.1):
    logp = torch.log_softmax(x, 1)
    return (-(1 - share) * logp[torch.arange(3), LABELS] - share * logp.mean(1)).exp().sum()


def offered(reference, name="_log_softmax"):
    replay = replayed(reference, x=X)
    (site,) = [site for site in sites(replay, ["x"]) if site.step.name == name]
    return replay, list(other_targets(replay, site))


@pytest.mark.parametrize("share", [0.0, 1.25, 2.0])
def test_a_part_counted_otherwise(share):
    replay, found = offered(smoothed)
    assert [(each.rank, each.fitted, "{counted}" in each.words) for each in found] == [(0.9, True, True)] * 2
    rows = torch.log_softmax(X, 1)
    upstream = (-0.9 * rows[torch.arange(3), LABELS] - 0.1 * rows.mean(1)).exp()[:, None]
    hot, p = torch.eye(4, dtype=torch.float64)[LABELS], X.softmax(1)
    for words, label, rest in (("indexing", share, 1.0), ("mean", 1.0, share)):
        (change,) = [each for each in found if f"through {words} in line" in each.words]
        expected = upstream * (p - label * 0.9 * hot - rest * 0.1 / 4)
        torch.testing.assert_close(replay.gradients(change.rules(share))["x"], expected)


def test_where_there_is_one_part_or_no_softmax():
    assert offered(lambda x: torch.log_softmax(x, 1).exp().sum())[1] == []
    assert offered(lambda x: (torch.tanh(x) + torch.tanh(x).mean(0)).exp().sum() * 0 + x.sin().sum(), "sin")[1] == []
