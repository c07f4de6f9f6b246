"""The derivative of a normalisation put together from its terms, and the mistakes in it."""

from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
from replays import drawn  # noqa: E402 (needs torch)

from torch_reference.checker.derivations.functions import Normalize  # noqa: E402
from torch_reference.checker.derivations.kinds.catalogue import normalization as n  # noqa: E402

X, G = 2 * drawn(3, 4) + 1, drawn(3, 4, seed=1)
FUNCTIONS = [
    Normalize((1,), True, 4.0, 0.1),
    Normalize((0,), True, 2.0, 0.1),
    Normalize((0, 1), True, 12.0, 0.0),
    Normalize((1,), False, 4.0, 0.1),
    Normalize((1,), False, 1.0, 0.1),
]


def parts(function):
    """Return inverse deviation, result, mean of G, mean of G * result."""
    y, a = function(X), function.inverse(X)
    mean = G.mean(function.axes, keepdim=True) if function.centred else torch.zeros(1, 1)
    return a, y, mean, (G * y).sum(function.axes, keepdim=True) / function.count


def near(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("function", FUNCTIONS, ids=str)
def test_the_right_terms_give_the_derivative(function):
    x = X.clone().requires_grad_()
    (expected,) = torch.autograd.grad(function(x), x, G)
    a, y, *_ = parts(function)
    near(n.assembled(n.right, function, y, a, G), expected)
    near(n.in_steps(function, y, a, G), expected)


def test_in_steps_the_mean_of_the_result_counts():
    function = FUNCTIONS[0]
    a, y, _, correlation = parts(function)
    moved = y + 0.5
    extra = a * 0.5 * (correlation + 0.5 * G.mean(1, keepdim=True))
    near(n.in_steps(function, moved, a, G) - n.assembled(n.right, function, moved, a, G), extra.expand(3, 4))
    assert torch.equal(n.in_steps(FUNCTIONS[3], moved, a, G), n.assembled(n.right, FUNCTIONS[3], moved, a, G))


@pytest.mark.parametrize("function", FUNCTIONS, ids=str)
def test_each_mistake_is_what_its_words_say(function):
    local = SimpleNamespace(step=SimpleNamespace(func=function), operands=[X], compute=function)
    a, y, m, c = parts(function)
    expected = {
        "mean(g * y) is not multiplied by y": a * (G - m - c),
        "mean(g) stands where mean(g * y) belongs": a * (G - m - y * m),
        "a multiplies the first term alone": a * G - m - y * c,
    }
    assert list(n.TERMS) == list(expected)
    for entry, (words, right) in zip(n.SLOPES, expected.items(), strict=True):
        assert entry.__doc__ == f"In its derivative, {n.FORMULA} {words}."
        near(entry(local, G, 0), right)
        assert entry(SimpleNamespace(step=SimpleNamespace(func=torch.tanh), operands=[X]), G, 0) is None


def test_statistics_taken_by_mistake():
    function = FUNCTIONS[0]
    plain, about_zero = n.STATISTICS.values()
    mean, variance = plain(function, X)
    assert mean == 0
    near(variance, X.var(1, correction=0, keepdim=True))
    mean, variance = about_zero(function, X)
    near(mean, X.mean(1, keepdim=True))
    near(variance, X.square().mean(1, keepdim=True))
