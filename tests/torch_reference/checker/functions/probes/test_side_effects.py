"""What a call leaves behind, where PyTorch itself does not see it: kernels write past its counters."""

import pytest

torch = pytest.importorskip("torch")
from torch_reference import crosscheck_function  # noqa: E402 (needs torch)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_saved_tensor_that_is_scaled_unseen(dtype):
    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(2 * x)
            return x * x

        @staticmethod
        def backward(ctx, g):
            (slope,) = ctx.saved_tensors
            slope.data.mul_(g)
            return slope

    x = torch.linspace(-1, 2, 6).to(dtype)
    found = crosscheck_function(Square.apply, torch.square, {"x": x}).gradients["x"]
    assert (found.code, "A second backward pass of the same call" in found.message) == ("side-effect", True)
