"""The mistakes in the derivative of any operation: what each passes on, and where it says nothing."""

import pytest

torch = pytest.importorskip("torch")
from replays import drawn, local_of  # noqa: E402 (needs torch)

from torch_reference.checker.derivations.kinds.catalogue import slopes  # noqa: E402

X, G = drawn(3, 3), drawn(3, 3, seed=1)
EXP = torch.exp(X)


def near(found, expected):
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-14)


def exp():
    return local_of("exp", lambda x: torch.exp(x).square().sum(), x=X)


def product():
    return local_of("mm", lambda x, w: (x @ w).square().sum(), x=X, w=drawn(3, 3, seed=2))


@pytest.mark.parametrize(
    ("mistake", "expected"),
    [
        (slopes.right, G * EXP),
        (slopes.left_out, G),
        (slopes.twice, G * EXP * EXP),
        (slopes.value_for_derivative, G * EXP),
        (slopes.input_for_derivative, G * X),
        (slopes.other_side, G / EXP),
        (slopes.at_its_result, G * EXP.exp()),
        (slopes.upstream_transposed, G.T * EXP),
        (slopes.factor_too_late, None),
        (slopes.forwards_again, G.exp()),
    ],
)
def test_an_elementwise_operation(mistake, expected):
    found = mistake(exp(), G, 0)
    assert found is None if expected is None else near(found.detach(), expected) is None


def test_a_product_of_matrices():
    local = product()
    w = drawn(3, 3, seed=2)
    for k, right, transposed in ((0, G @ w.T, G.T @ w.T), (1, X.T @ G, X.T @ G.T)):
        near(slopes.right(local, G, k), right)
        near(slopes.upstream_transposed(local, G, k), transposed)
        near(slopes.other_side(local, G, k), right)  # it is linear
        assert slopes.value_for_derivative(local, G, k) is slopes.input_for_derivative(local, G, k) is None
        assert slopes.left_out(local, G, k) is G
        assert slopes.forwards_again(local, G, k) is None
    near(slopes.twice(local, G, 0), G @ w.T @ w.T)


def test_shapes_that_do_not_fit():
    narrow = local_of("mm", lambda x, w: (x @ w).square().sum(), x=X, w=drawn(3, 2, seed=2))
    grad = drawn(3, 2, seed=3)
    assert slopes.left_out(narrow, grad, 0) is None
    assert slopes.upstream_transposed(narrow, grad, 0) is None
    assert slopes.twice(narrow, grad, 0) is None
    flat = local_of("exp", lambda x: torch.exp(x).square().sum(), x=X[0])
    assert slopes.upstream_transposed(flat, G[0], 0) is None


def test_a_running_sum_forwards_again():
    near(slopes.forwards_again(local_of("cumsum", lambda x: x.cumsum(1).square().sum(), x=X), G, 0), G.cumsum(1))
    total = local_of("sum", lambda x: x.sum(1).square().sum(), x=X)
    assert slopes.forwards_again(total, G[0, 0], 0) is None


def test_what_was_broadcast_is_added_up():
    local = local_of("add", lambda x, b: (x + b).square().sum(), x=X, b=X[0])
    near(slopes.left_out(local, G, 1), G.sum(0))


FACTOR = drawn(3, 3, seed=4)


def test_a_factor_that_comes_too_late():
    def reference(x, f):
        return (torch.softmax(x, 1) * f * G).sum()

    p = torch.softmax(X, 1)
    for one, other in ((X, FACTOR), (X, FACTOR.abs())):
        local = local_of("_softmax", reference, x=one, f=other)
        expected = p * (G - (p * G).sum(1, keepdim=True)) * other
        near(slopes.factor_too_late(local, other * G, 0), expected)


@pytest.mark.parametrize(
    "after",
    [
        lambda y: y + FACTOR,
        lambda y: y,
        lambda y: y * y,
        lambda y: (y * FACTOR, y),  # read twice
    ],
)
def test_where_the_result_is_not_multiplied_by_one_factor(after):
    def reference(x):
        found = after(torch.exp(x))
        return sum(each.sum() for each in found) if isinstance(found, tuple) else found.sum()

    assert slopes.factor_too_late(local_of("exp", reference, x=X), G, 0) is None


def test_a_factor_that_is_spread_out():
    f = FACTOR[0]
    local = local_of("exp", lambda x, f: (torch.exp(x) * f * G).sum(), x=X, f=f)
    near(slopes.factor_too_late(local, G * f, 0), G * EXP * f)
    spread = local_of("exp", lambda x, f: (torch.exp(x) * f * G).sum(), x=X[0], f=FACTOR)
    assert slopes.factor_too_late(spread, (G * FACTOR).sum(0), 0) is None
