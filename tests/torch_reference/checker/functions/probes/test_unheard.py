"""Entries of an upstream gradient that make no difference: found one by one, and named."""

import pytest

torch = pytest.importorskip("torch")
from torch_reference import crosscheck_function  # noqa: E402 (needs torch)


def scaled(groups, kept):
    """Return x * weight, whose weight has the gradient of some groups of rows alone: of `groups`, the first `kept`."""

    class Scaled(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, weight):
            ctx.save_for_backward(x, weight)
            return x * weight

        @staticmethod
        def backward(ctx, g):
            x, weight = ctx.saved_tensors
            terms = g * x
            return g * weight, sum(terms[group::groups].sum(0) for group in range(kept))

    return Scaled.apply


@pytest.mark.parametrize(("groups", "kept", "left"), [(4, 3, "3, 7"), (4, 2, "2, 3, 6, 7"), (3, 1, "1, 2, 4, 5, 7")])
def test_a_group_of_rows_that_is_not_added_up(groups, kept, left):
    inputs = {"x": torch.arange(1.0, 41).reshape(8, 5).sin(), "weight": torch.arange(1.0, 6)}
    report = crosscheck_function(scaled(groups, kept), torch.mul, inputs)
    assert report.gradients["weight"].message.startswith(
        f"Along axis 0 of the output it ignores its upstream gradient at {left}: right only where that is 0."
    )
    assert report.gradients["x"].ok
