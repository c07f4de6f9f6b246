"""Rows that get what belongs to their neighbours: found by one row's upstream gradient, and only where it is so."""

import pytest

torch = pytest.importorskip("torch")
from torch_reference import crosscheck_function  # noqa: E402 (needs torch)

REACHES = "With an upstream gradient that is zero but for row 3, it is not zero where the right one is: what belongs to"


def centred(width):
    """Return x - mean(x) of rows, whose gradient takes its mean over so many entries from the start of a row on."""

    class Centred(torch.autograd.Function):
        @staticmethod
        def forward(_, x):
            return x - x.mean(1, keepdim=True)

        @staticmethod
        def backward(_, g):
            rows, size = g.shape
            memory = torch.cat([g.flatten().float(), torch.zeros(width)])
            sums = memory.as_strided((rows, width), (size, 1)).sum(1, keepdim=True)
            return (g.float() - sums / size).to(g.dtype)

    return Centred.apply


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_kernel_that_reads_on_into_the_next_row(dtype):
    x = torch.arange(42.0).sin().reshape(6, 7).to(dtype)
    gradient = crosscheck_function(centred(9), lambda x: x - x.mean(1, keepdim=True), {"x": x}).gradients["x"]
    assert (gradient.code, gradient.message.startswith(REACHES)) == ("upstream", True)
    assert "1 of 6 rows is wrong: 2." in gradient.message
    assert crosscheck_function(centred(7), lambda x: x - x.mean(1, keepdim=True), {"x": x}).ok


def test_another_mistake_in_every_row_is_none():
    x = torch.arange(42.0).sin().reshape(6, 7)

    class Odd(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x.exp()

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return g * (x.exp() + (3 * x).cos() / (2 + x))

    assert crosscheck_function(Odd.apply, torch.exp, {"x": x}).gradients["x"].code == "mismatch"
