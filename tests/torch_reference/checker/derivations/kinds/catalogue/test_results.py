"""The mistakes in the forward pass of one operation: what each computes, and on which operations it is tried."""

import pytest

torch = pytest.importorskip("torch")
from replays import drawn, local_of, replayed  # noqa: E402 (needs torch)

from torch_reference.checker.derivations.kinds.catalogue import results  # noqa: E402

X, G = drawn(3, 4), drawn(3, 4, seed=1)


def near(found, expected):
    torch.testing.assert_close(found.detach(), expected, rtol=1e-12, atol=1e-14)


def slope(found, local):
    """Return the gradient of a result by its first operand, for G."""
    return torch.autograd.grad(found, local.operands[0], G)[0]


def test_one_operand_left_out_or_applied_twice():
    local = local_of("sigmoid", lambda x: torch.sigmoid(2 * x).square().sum(), x=X)
    once, twice = torch.sigmoid(2 * X), torch.sigmoid(torch.sigmoid(2 * X))
    assert results.left_out(local) is local.operands[0]
    applied, derived_once = results.applied_twice(local), results.applied_twice_derived_once(local)
    near(applied, twice)
    near(derived_once, twice)
    near(slope(applied, local), G * twice * (1 - twice) * once * (1 - once))
    near(slope(derived_once, local), G * twice * (1 - twice))
    product = local_of("mul", lambda x, y: (x * y).sum(), x=X, y=G)
    for entry in (results.left_out, results.applied_twice, results.applied_twice_derived_once):
        assert entry(product) is None


@pytest.mark.parametrize("axis", [0, 1])
def test_softmax_before_log_softmax(axis):
    local = local_of("_log_softmax", lambda x: torch.log_softmax(x, axis).square().sum(), x=X)
    p = torch.softmax(X, axis)
    q = torch.softmax(p, axis)
    passed = G - q * G.sum(axis, keepdim=True)
    before, derived_once = results.softmax_before(local), results.softmax_before_derived_once(local)
    near(before, q.log())
    near(derived_once, q.log())
    near(slope(derived_once, local), passed)
    near(slope(before, local), p * (passed - (p * passed).sum(axis, keepdim=True)))
    softmax = local_of("_softmax", lambda x: torch.softmax(x, axis).square().sum(), x=X)
    assert results.softmax_before(softmax) is results.softmax_before_derived_once(softmax) is None


@pytest.mark.parametrize(("axes", "n"), [(0, 3), (1, 4), ((0, 1), 12)])
def test_a_mean_divided_by_something_else(axes, n):
    local = local_of("mean", lambda x: x.mean(axes).square().sum(), x=X)
    near(results.bessel(local), X.sum(axes) / (n - 1))
    near(results.sum_for_mean(local), X.sum(axes))


def test_a_mean_of_two_may_be_divided_by_one_and_a_mean_of_one_not():
    two = local_of("mean", lambda x: x.mean(1).square().sum(), x=X[:, :2])
    near(results.bessel(two), X[:, :2].sum(1))
    near(results.sum_for_mean(two), X[:, :2].sum(1))
    one = local_of("mean", lambda x: x.mean(1).square().sum(), x=X[:, :1])
    total = local_of("sum", lambda x: x.sum(1).square().sum(), x=X)
    nothing = local_of("mean", lambda x: x.sum() + x[:0].mean(0).sum(), x=X)
    for other in (one, total, nothing):
        assert results.bessel(other) is results.sum_for_mean(other) is None


@pytest.mark.parametrize("call", ["var", "std", "var_mean"])
def test_a_variance_divided_by_n(call):
    def reference(x):
        found = getattr(torch, call)(x, 1)
        return (found[0] if isinstance(found, tuple) else found).square().sum()

    (local,) = [
        replay.at(step)
        for replay in [replayed(reference, x=X)]
        for step in replay.tape.steps
        if step.name == "mul" and results.no_bessel(replay.at(step)) is not None and len(step.inputs) == 1
    ]
    near(results.no_bessel(local), X.var(1, correction=0))
    assert results.no_bessel(local_of("mean", reference, x=X)) is None
    assert results.no_bessel(local_of("mul", lambda x: (x.var(1, correction=0) * 2).sum(), x=X)) is None


@pytest.mark.parametrize(
    ("name", "root", "expected"),
    [
        ("sqrt", torch.sqrt, lambda v: v.sqrt() + 0.25),
        ("rsqrt", torch.rsqrt, lambda v: 1 / (v.sqrt() + 0.25)),
        ("pow", lambda v: v**-0.5, lambda v: 1 / (v.sqrt() + 0.25)),
    ],
)
def test_epsilon_outside_the_root(name, root, expected):
    v = X.square()
    near(results.epsilon_outside(local_of(name, lambda v: root(v + 0.25).sum(), v=v)), expected(v))
    for other in (
        lambda v: root(v * 0.25).sum(),
        lambda v: root(v + 1).sum(),  # a whole number is no epsilon
        lambda v: root(v + v).sum(),
        lambda v: root(v).sum(),
    ):
        assert results.epsilon_outside(local_of(name, other, v=v)) is None


def test_epsilon_below_no_root_stays():
    assert results.epsilon_outside(local_of("tanh", lambda v: torch.tanh(v + 0.25).sum(), v=X)) is None
