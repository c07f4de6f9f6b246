"""Naive sums are those of a loop, to the last bit; the exact softplus has no threshold."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch_reference.checker.reference.alternatives import ExactSoftplus, NaiveSums  # noqa: E402 (needs torch)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
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
