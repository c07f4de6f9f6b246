"""A function of several outputs as one loss."""

import pytest

torch = pytest.importorskip("torch")
from torch_reference.checker.functions.loss import Loss  # noqa: E402 (needs torch)

X = torch.tensor([1.0, 2.0, 4.0], dtype=torch.float64)
UPSTREAM = {"output.0": torch.ones(3), "output.1": torch.ones(())}


def both(x, p):
    return p * x, x.sum()


def test_it_is_the_sum_of_outputs_times_upstream_gradients():
    loss = Loss(both, {"x": X, "p": 3}, UPSTREAM)
    upstream = {"output.0": torch.tensor([1.0, 10.0, 100.0]), "output.1": torch.tensor(1000.0)}
    x = (2 * X).requires_grad_()
    total = loss(x=x, **upstream)
    assert total.item() == 3 * (2 + 40 + 800) + 14_000
    total.backward()
    assert x.grad.tolist() == [1003, 1030, 1300]
    assert [value.tolist() for value in loss.outputs({}).values()] == [[3, 6, 12], 7]


def test_a_fixed_output_takes_no_part_in_the_backward_pass():
    loss = Loss(both, {"x": X, "p": 3}, UPSTREAM, frozenset({"output.1"}))
    x = X.clone().requires_grad_()
    total = loss(x=x, **UPSTREAM)
    assert total.item() == 21 + 7
    total.backward()
    assert x.grad.tolist() == [3, 3, 3]


def test_stored_outputs_are_rounded_by_chance_where_a_backward_pass_reads_them():
    def square(x):
        return x.exp()

    loss = Loss(square, {"x": X}, {"output": torch.ones(3, dtype=torch.bfloat16)})

    def gradient(stored):
        x = X.clone().requires_grad_()
        loss.pairs(stored, x=x)["output"].sum().backward()
        return x.grad / X.exp() - 1

    assert torch.equal(gradient(None), torch.zeros(3, dtype=torch.float64))
    moved = torch.stack([gradient(seed) for seed in range(30)])
    assert torch.equal(gradient(3), moved[3])
    half = 2.0**-7 / 2  # bfloat16's unit in the last place, relative
    assert half / 2 < moved.abs().max() <= half
    assert (moved > 0).any()
    assert (moved < 0).any()
    assert moved.unique().numel() == moved.numel()
