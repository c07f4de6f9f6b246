"""The mistakes in softmax's derivative are what their words say, entry by entry, and are tried on softmax alone."""

import pytest

torch = pytest.importorskip("torch")
from replays import drawn, local_of  # noqa: E402 (needs torch)

from torch_reference.checker.derivations.kinds.catalogue import softmax  # noqa: E402

X, G = drawn(3, 4), drawn(3, 4, seed=1)
MISTAKES = (
    softmax.diagonal,
    softmax.softmax_again,
    softmax.diagonal_again,
    softmax.row_sum_left_out,
    softmax.sum_along_the_other_axis,
    softmax.probabilities_left_out,
    softmax.label_left_out,
    softmax.powers_for_probabilities,
    softmax.logits_for_probabilities,
    softmax.sum_not_weighted,
    softmax.weighted_too_late,
    softmax.factor_of_the_sum_left_out,
)


def through(p, g, axis):
    return p * (g - (p * g).sum(axis, keepdim=True))


@pytest.mark.parametrize("axis", [0, 1])
def test_softmax(axis):
    local = local_of("_softmax", lambda x: torch.softmax(x, axis).square().sum(), x=X)
    p = torch.softmax(X, axis)
    expected = [
        G * p * (1 - p),
        through(p, through(p, G, axis), axis),
        through(p, G, axis) * p * (1 - p),
        G * p,
        through(p, G, 1 - axis),
        G - (p * G).sum(axis, keepdim=True),
        None,
        None,
        None,
        p * (G - G.sum(axis, keepdim=True)),
        p * (G - p * G.sum(axis, keepdim=True)),
        p * G - (p * G).sum(axis, keepdim=True),
    ]
    for mistake, right in zip(MISTAKES, expected, strict=True):
        found = mistake(local, G, 0)
        assert found is None if right is None else torch.allclose(found, right, rtol=1e-12), mistake.__name__


@pytest.mark.parametrize("axis", [0, 1])
def test_log_softmax(axis):
    local = local_of("_log_softmax", lambda x: torch.log_softmax(x, axis).square().sum(), x=X)
    p, total = torch.softmax(X, axis), G.sum(axis, keepdim=True)
    passed = G - p * total
    expected = [
        G * (1 - p),
        through(p, passed, axis),
        passed * p * (1 - p),
        None,
        None,
        None,
        -p * total,
        G - X.exp() * total,
        G - X * total,
        None,
        None,
        None,
    ]
    for mistake, right in zip(MISTAKES, expected, strict=True):
        found = mistake(local, G, 0)
        assert found is None if right is None else torch.allclose(found, right, rtol=1e-12), mistake.__name__


@pytest.mark.parametrize(("axis", "other"), [(0, 2), (1, 2), (2, 1), (-1, 1), (-2, 2)])
def test_the_other_axis_is_the_last_or_the_one_before_it(axis, other):
    x, g = drawn(2, 3, 4), drawn(2, 3, 4, seed=1)
    local = local_of("_softmax", lambda x: torch.softmax(x, axis).square().sum(), x=x)
    found = softmax.sum_along_the_other_axis(local, g, 0)
    torch.testing.assert_close(found, through(torch.softmax(x, axis), g, other), rtol=1e-12, atol=1e-14)


def test_where_there_is_no_other_axis_and_no_softmax():
    local = local_of("_softmax", lambda x: torch.softmax(x, 0).square().sum(), x=X[0])
    assert softmax.sum_along_the_other_axis(local, G[0], 0) is None
    local = local_of("tanh", lambda x: torch.tanh(x).sum(), x=X)
    assert [mistake(local, G, 0) for mistake in MISTAKES] == [None] * len(MISTAKES)
