"""Layer normalisation as Triton kernels, forward and backward, checked without a GPU.

    TRITON_INTERPRET=1 python docs/examples/triton_layer_norm.py

Triton's interpreter runs the kernels on the CPU. One program takes one row x, with y = (x - mean) r and
r = 1 / sqrt(var + eps):

    dL/dx = r (g w - mean(g w) - y mean(g w y)),   dL/dw = sum over rows of g y,   dL/db = sum over rows of g.
"""

import torch
import triton
import triton.language as tl

from torch_reference import assert_function_matches

ROWS = 4  # of the partial sums that one program adds up


@triton.jit
def forward_kernel(x, weight, bias, y, mean, scale, row_stride, size, eps, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    column = tl.arange(0, BLOCK)
    inside = column < size
    values = tl.load(x + row * row_stride + column, mask=inside, other=0.0).to(tl.float32)
    average = tl.sum(values, axis=0) / size
    centred = tl.where(inside, values - average, 0.0)
    r = 1 / tl.sqrt(tl.sum(centred * centred, axis=0) / size + eps)
    w = tl.load(weight + column, mask=inside, other=0.0).to(tl.float32)
    b = tl.load(bias + column, mask=inside, other=0.0).to(tl.float32)
    tl.store(y + row * size + column, centred * r * w + b, mask=inside)
    tl.store(mean + row, average)
    tl.store(scale + row, r)


@triton.jit
def backward_kernel(
    grad_y, x, weight, mean, scale, grad_x, grad_weight, grad_bias, rows, row_stride, size,
    ROWS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    program = tl.program_id(0)
    column = tl.arange(0, BLOCK)
    inside = column < size
    w = tl.load(weight + column, mask=inside, other=0.0).to(tl.float32)
    sum_weight = tl.zeros([BLOCK], dtype=tl.float32)
    sum_bias = tl.zeros([BLOCK], dtype=tl.float32)
    for row in range(program * ROWS, tl.minimum(program * ROWS + ROWS, rows)):
        g = tl.load(grad_y + row * size + column, mask=inside, other=0.0).to(tl.float32)
        values = tl.load(x + row * row_stride + column, mask=inside, other=0.0).to(tl.float32)
        r = tl.load(scale + row)
        y = tl.where(inside, (values - tl.load(mean + row)) * r, 0.0)
        first = tl.sum(g * w, axis=0) / size
        second = tl.sum(g * w * y, axis=0) / size
        tl.store(grad_x + row * size + column, r * (g * w - first - y * second), mask=inside)
        sum_weight += g * y
        sum_bias += g
    tl.store(grad_weight + program * size + column, sum_weight, mask=inside)
    tl.store(grad_bias + program * size + column, sum_bias, mask=inside)


class LayerNorm(torch.autograd.Function):
    """Normalise the last axis. Rows may lie anywhere in memory, their entries side by side."""

    @staticmethod
    def forward(ctx, x, weight, bias, eps):
        rows = x.reshape(-1, x.shape[-1])
        rows = rows if rows.stride(-1) == 1 else rows.contiguous()
        weight, bias = weight.contiguous(), bias.contiguous()
        number, size = rows.shape
        y = torch.empty((number, size), dtype=x.dtype, device=x.device)
        mean, scale = (torch.empty(number, dtype=torch.float32, device=x.device) for _ in range(2))
        block = triton.next_power_of_2(size)
        forward_kernel[(number,)](rows, weight, bias, y, mean, scale, rows.stride(0), size, eps, BLOCK=block)
        ctx.save_for_backward(rows, weight, mean, scale)
        return y.view(x.shape)

    @staticmethod
    def backward(ctx, grad_y):
        rows, weight, mean, scale = ctx.saved_tensors
        number, size = rows.shape
        grad_y = grad_y.contiguous()
        grad_x = torch.empty((number, size), dtype=rows.dtype, device=rows.device)
        programs = triton.cdiv(number, ROWS)
        partial = torch.empty((2, programs, size), dtype=torch.float32, device=rows.device)
        backward_kernel[(programs,)](
            grad_y, rows, weight, mean, scale, grad_x, partial[0], partial[1],
            number, rows.stride(0), size, ROWS=ROWS, BLOCK=triton.next_power_of_2(size),
        )  # fmt: skip
        grad_weight, grad_bias = partial.sum(1).to(weight.dtype)
        return grad_x.view(grad_y.shape), grad_weight, grad_bias, None


def reference(x, weight, bias, eps):
    return torch.nn.functional.layer_norm(x, weight.shape, weight, bias, eps)


if __name__ == "__main__":
    for dtype in (torch.float32, torch.bfloat16):
        shapes = {"x": (6, 10), "weight": (10,), "bias": (10,)}
        inputs = {name: torch.randn(shape).to(dtype) for name, shape in shapes.items()}
        assert_function_matches(LayerNorm.apply, reference, {**inputs, "eps": 1e-5}, strict=True, stress=True)
        print(f"LayerNorm in {dtype} matches")
