"""Naive sums are those of a loop, to the last bit; the exact softplus has no threshold."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch_reference.checker.reference import alternatives  # noqa: E402 (needs torch)
from torch_reference.checker.reference.alternatives import ExactSoftplus, NaiveSums  # noqa: E402


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("axes", "keepdim"), [((0,), False), ((1,), True), ((0, 2), False), ((), False)])
def test_a_naive_sum_is_a_loop(rng, dtype, axes, keepdim):
    x = torch.from_numpy(rng.normal(size=(5, 4, 3))).to(dtype)
    every = axes or (0, 1, 2)
    expected = torch.zeros([1 if axis in every else size for axis, size in enumerate(x.shape)], dtype=dtype)
    for index in np.ndindex(*x.shape):
        expected[tuple(0 if axis in every else i for axis, i in enumerate(index))] += x[index]
    with NaiveSums():
        total = x.sum(axes, keepdim=keepdim) if axes else x.sum()
        mean = x.mean(axes, keepdim=keepdim) if axes else x.mean()
    terms = np.prod([x.shape[axis] for axis in every])
    shaped = expected if keepdim else expected.squeeze(every)
    assert torch.equal(total, shaped)
    assert torch.equal(mean, shaped / int(terms))


@pytest.mark.parametrize("shapes", [((5, 7), (7, 3)), ((2, 5, 7), (2, 7, 3))])
def test_a_naive_product_is_a_loop(rng, shapes):
    left, right = (torch.from_numpy(rng.normal(size=shape)).float() for shape in shapes)
    expected = torch.zeros(*shapes[0][:-1], shapes[1][-1])
    for k in range(7):
        expected += left[..., :, k : k + 1] * right[..., k : k + 1, :]
    with NaiveSums():
        assert torch.equal(left @ right, expected)


def test_the_exact_softplus_has_no_threshold():
    x = torch.tensor([-30.0, 0.0, 19.0, 25.0, 60.0], dtype=torch.float64, requires_grad=True)
    with ExactSoftplus():
        y = torch.nn.functional.softplus(x)
        (gradient,) = torch.autograd.grad(y.sum(), x)
    plain = x.detach().numpy()
    # each is one rounded function of another: four units in the last place
    np.testing.assert_allclose(y.detach().numpy(), np.logaddexp(0, plain), rtol=1e-15)
    np.testing.assert_allclose(gradient.numpy(), 1 / (1 + np.exp(-plain)), rtol=1e-15)


def naive(function, *args, **keywords):
    with NaiveSums():
        return function(*args, **keywords)


@pytest.mark.parametrize("function", [torch.addmm, torch.baddbmm])
def test_a_naive_product_with_a_bias_unless_it_is_scaled(rng, function):
    shapes = ((7,), (5, 90), (90, 7)) if function is torch.addmm else ((7,), (2, 5, 90), (2, 90, 7))
    bias, left, right = (torch.from_numpy(rng.normal(size=shape)).float() for shape in shapes)
    assert torch.equal(naive(function, bias, left, right), bias + naive(torch.matmul, left, right))
    assert not torch.equal(naive(function, bias, left, right), function(bias, left, right))
    for keywords in ({"alpha": 2.0}, {"beta": 0.5}, {"alpha": 2.0, "beta": 0.5}):
        assert torch.equal(naive(function, bias, left, right, **keywords), function(bias, left, right, **keywords))


def test_products_that_would_take_too_long_are_pytorch_s(rng, monkeypatch):
    left, right = (torch.from_numpy(rng.normal(size=shape)).float() for shape in ((5, 90), (90, 7)))
    loop = naive(torch.mm, left, right)
    assert not torch.equal(loop, left @ right)
    for affordable, expected in ((5 * 90 * 7, loop), (5 * 90 * 7 - 1, left @ right)):
        monkeypatch.setattr(alternatives, "AFFORDABLE", affordable)
        assert torch.equal(naive(torch.mm, left, right), expected)
    monkeypatch.undo()
    left, right = torch.full((128, 2**14 + 1), 0.1), torch.full((2**14 + 1, 128), 0.1)
    assert torch.equal(naive(torch.mm, left, right), left @ right)


def test_sums_of_whole_numbers_of_one_and_of_nothing_are_pytorch_s():
    assert naive(torch.arange(5).sum) == 10
    assert naive(torch.ones(1).sum) == 1
    assert naive(torch.zeros(0, 3).sum, 0).tolist() == [0, 0, 0]
    assert naive(torch.mm, torch.zeros(2, 0), torch.zeros(0, 3)).tolist() == [[0] * 3] * 2
    two = torch.tensor([1.0, 2.0**-24], dtype=torch.float32)
    assert naive(two.sum) == 1
    assert naive(two.mean) == 0.5


@pytest.mark.parametrize("beta", [1.0, 2.0])
def test_the_exact_softplus_is_scaled_as_pytorch_s_is(beta):
    x = torch.tensor([-3.0, 0.0, 12.0, 25.0, 35.0], dtype=torch.float64, requires_grad=True)
    for more in ((), (beta,), (beta, 5.0)) if beta == 1 else ((beta,), (beta, 5.0)):
        with ExactSoftplus():
            y = torch.nn.functional.softplus(x, *more)
            (gradient,) = torch.autograd.grad(y.sum(), x)
        plain = x.detach().numpy()
        np.testing.assert_allclose(y.detach().numpy(), np.logaddexp(0, beta * plain) / beta, rtol=1e-15)
        np.testing.assert_allclose(gradient.numpy(), 1 / (1 + np.exp(-beta * plain)), rtol=1e-15)


def test_the_exact_softplus_does_not_overflow():
    x = torch.tensor([70.0, 100.0, 1e30], requires_grad=True)
    with ExactSoftplus():
        y = torch.nn.functional.softplus(x)
        (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(y, x)
    assert gradient.tolist() == [1, 1, 1]
