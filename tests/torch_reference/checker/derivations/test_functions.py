"""The functions that are recognised: what they compute, and from where on something is one of them."""

import math

import pytest

torch = pytest.importorskip("torch")
from replays import drawn  # noqa: E402 (needs torch)
from torch.nn import functional as F  # noqa: E402, N812

from torch_reference.checker.derivations.functions import (  # noqa: E402
    ELEMENTWISE,
    Normalize,
    Recurrence,
    along,
    binary_cross_entropy,
    is_even,
    normalized,
    recurrences,
)

X = 2 * drawn(6, 50) + 1


def test_functions_under_their_names():
    x = drawn(3, 4)
    for name, (operator,) in ELEMENTWISE.items():
        expected = getattr(torch, name, getattr(F, name, None))
        torch.testing.assert_close(operator(x), expected(x))
    found = along(2)
    assert list(found) == ["softmax along 1", "log_softmax along 1", "softmax along 0", "log_softmax along 0"]
    for name, (operator, *arguments) in found.items():
        function, axis = name.split(" along ")
        torch.testing.assert_close(operator(x, *arguments), getattr(torch, function)(x, int(axis)))
    logits = torch.tensor([-40.0, -3.0, 0.0, 2.0, 30.0], dtype=torch.float64)
    expected = torch.logaddexp(logits, torch.zeros(5).double()) - 0.25 * logits
    torch.testing.assert_close(binary_cross_entropy(logits, torch.tensor(0.25)), expected, rtol=1e-15, atol=0)


def test_a_normalisation_along_other_axes_keeps_what_it_divides_by_besides():
    one = Normalize((1,), True, 49.0, 0.1)
    assert one.number(X) == 50
    assert one.along((0,), X) == Normalize((0,), True, 5.0, 0.1)
    assert one.along((0, 1), X) == Normalize((0, 1), True, 299.0, 0.1)
    assert one.along((0,), X[:1]) == Normalize((0,), True, 1.0, 0.1)
    assert one.name == "normalize"
    torch.testing.assert_close(one(X), (X - X.mean(1, keepdim=True)) / (X.var(1, keepdim=True) + 0.1).sqrt())
    plain = Normalize((0,), False, 6.0, 0.1)
    torch.testing.assert_close(plain(X), X / (X.square().mean(0) + 0.1).sqrt())
    assert plain.mean(X) == 0


@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1)])
@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("epsilon", [0.0, 1e-3])
def test_a_normalisation_is_recognised(axes, centred, epsilon):
    n = math.prod(X.shape[axis] for axis in axes)
    (found,) = normalized(X, Normalize(axes, centred, float(n), epsilon)(X))
    assert (found.axes, found.centred, found.count) == (axes, centred, n)
    assert found.epsilon == pytest.approx(epsilon, rel=1e-8)


def test_divisors():
    (bessel,) = normalized(X, Normalize((1,), True, 49.0, 1e-3)(X))
    assert (bessel.count, bessel.epsilon) == (49, pytest.approx(1e-3))
    for centred in (True, False):
        (unit,) = normalized(X, Normalize((1,), centred, 1.0, 0.0)(X))
        assert (unit.centred, unit.count, unit.epsilon) == (centred, 1, pytest.approx(0, abs=1e-12))


@pytest.mark.parametrize(
    "y",
    [
        X,
        torch.softmax(X, 1),
        2 * Normalize((1,), True, 50.0, 0.0)(X),
        -Normalize((1,), True, 50.0, 0.1)(X),
        (X - X.mean(1, keepdim=True)) / (X.var(1, correction=0, keepdim=True) - 1e-3).sqrt(),
        Normalize((1,), True, 50.0, 0.0)(X) + 0.5,
        Normalize((1,), True, 48.0, 0.0)(X),
    ],
)
def test_what_is_nearly_a_normalisation_is_none(y):
    assert list(normalized(X, y)) == []


@pytest.mark.parametrize(
    ("y", "even"),
    [
        (Normalize((1,), True, 50.0, 1e-3)(X), True),
        (Normalize((0,), False, 6.0, 1e-3)(X), True),
        (Normalize((0, 1), True, 1.0, 0.0)(X), True),
        (Normalize((1,), True, 50.0, 1e-3)(X) * torch.linspace(1, 2, 6)[:, None], False),
        (X, False),
    ],
)
def test_what_may_be_a_normalisation(y, even):
    assert is_even(y) == even


def test_what_has_one_entry_to_normalise_is_none():
    assert list(normalized(X[:, :1], torch.ones(6, 1).double())) == []
    pair = torch.tensor([[1.0, 3.0]]).double()
    assert [found.axes for found in normalized(pair, torch.tensor([[-1.0, 1.0]]).double())] == [(1,)]


@pytest.mark.parametrize(("share", "recognised"), [(0.4, True), (0.45, False)])
def test_epsilon_is_small_beside_the_variance(share, recognised):
    x = X - X.mean(1, keepdim=True)
    x = x / x.square().mean(1, keepdim=True).sqrt()  # the result has a mean square of 1 / (1 + share): 0.71, 0.69
    assert len(list(normalized(x, Normalize((1,), True, 50.0, share)(x)))) == recognised


@pytest.mark.parametrize(("shift", "recognised"), [(0.5e-10, True), (1.5e-10, False)])
def test_how_near_to_zero_the_mean_of_the_result_is(shift, recognised):
    y = Normalize((1,), True, 50.0, 0.0)(X)
    assert len(list(normalized(X, y + shift * y.abs().max()))) == recognised


@pytest.mark.parametrize(("error", "recognised"), [(0.7e-9, True), (1.5e-9, False)])
def test_how_near_the_result_is(error, recognised):
    y = Normalize((1,), True, 50.0, 0.0)(X)
    off = torch.zeros_like(y)
    off[2, 3], off[2, 4] = 1, -1
    assert len(list(normalized(X, y + error * y.abs().max() * off))) == recognised


DECAYS = drawn(6, 50, seed=1).sigmoid()


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("shared", [True, False])
def test_a_recurrence_is_recognised(axis, shared):
    a = DECAYS.narrow(1 - axis, 0, 1) if shared else DECAYS
    (found,) = recurrences(X, a, Recurrence(axis)(X, a))
    assert (found.axis, found.name) == (axis, "recurrence")
    state = torch.zeros_like(X.select(axis, 0))
    for t in range(X.shape[axis]):
        state = a.select(axis, t) * state + X.select(axis, t)
        torch.testing.assert_close(found(X, a).select(axis, t), state)


def test_decays_that_all_steps_share():
    for axis, a in ((0, DECAYS[0]), (1, DECAYS[:, :1]), (0, DECAYS[:1, :1])):
        (found,) = recurrences(X, a, Recurrence(axis)(X, a))
        assert found.axis == axis


@pytest.mark.parametrize(("error", "recognised"), [(0.5e-10, True), (1.5e-10, False)])
def test_how_near_the_states_are(error, recognised):
    y = Recurrence(0)(X, DECAYS)
    off = torch.zeros_like(y)
    off[-1, 3] = error * (1 + y.abs().max())
    assert len(list(recurrences(X, DECAYS, y + off))) == recognised


def test_what_is_no_recurrence():
    y = Recurrence(0)(X, DECAYS)
    assert list(recurrences(X, DECAYS[:, 0], y)) == []  # of other shapes
    assert list(recurrences(X, DECAYS[:, :3], y)) == []
    assert list(recurrences(X, DECAYS[None], y)) == []
    assert list(recurrences(X[:2], DECAYS[:2], Recurrence(0)(X[:2], DECAYS[:2]))) == []
    assert [found.axis for found in recurrences(X[:3], DECAYS[:3], Recurrence(0)(X[:3], DECAYS[:3]))] == [0]
