"""Triton kernels, right and wrong, as programs of their own: the interpreter has to be chosen before Triton is loaded.

    TRITON_INTERPRET=1 python tests/helpers/triton_kernels.py FAMILY

Prints a line for each kernel and type: the fault, the type, and the code of each output and gradient.
"""

import sys
from typing import Any

import torch
import triton
import triton.language as tl

from torch_reference import crosscheck_function

BLOCK = 16


@triton.jit
def softmax_kernel(x, y, size, outside, block: tl.constexpr):
    row, column = tl.program_id(0), tl.arange(0, block)
    values = tl.load(x + row * size + column, mask=column < size, other=outside).to(tl.float32)
    powers = tl.exp(values - tl.max(values, axis=0))
    tl.store(y + row * size + column, powers / tl.sum(powers, axis=0), mask=column < size)


@triton.jit
def softmax_backward_kernel(y, grad_y, grad_x, size, share, block: tl.constexpr):
    row, column = tl.program_id(0), tl.arange(0, block)
    p = tl.load(y + row * size + column, mask=column < size, other=0.0).to(tl.float32)
    g = tl.load(grad_y + row * size + column, mask=column < size, other=0.0).to(tl.float32)
    tl.store(grad_x + row * size + column, p * (g - share * tl.sum(p * g, axis=0)), mask=column < size)


def softmax(fault: str) -> Any:
    class Softmax(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            x, y = x.contiguous(), torch.empty(x.shape, dtype=x.dtype)
            outside = 0.0 if fault == "not masked" else float("-inf")
            softmax_kernel[(len(x),)](x, y, x.shape[1], outside, block=BLOCK)
            ctx.save_for_backward(y)
            return y

        @staticmethod
        def backward(ctx, grad_y):
            (y,) = ctx.saved_tensors
            grad_y, grad_x = grad_y.contiguous(), torch.empty_like(y)
            share = 0.0 if fault == "no sum" else 1.0
            softmax_backward_kernel[(len(y),)](y, grad_y, grad_x, y.shape[1], share, block=BLOCK)
            return grad_x

    return Softmax.apply, lambda x: x.softmax(-1), {"x": (5, 13)}


@triton.jit
def product_kernel(a, b, c, rows, columns, size, end, ar, ac, br, bc, block: tl.constexpr):
    row = tl.program_id(0) * block + tl.arange(0, block)[:, None]
    column = tl.program_id(1) * block + tl.arange(0, block)[None, :]
    total = tl.zeros((block, block), dtype=tl.float32)
    for start in range(0, end, block):
        place = start + tl.arange(0, block)
        one = tl.load(a + row * ar + place[None, :] * ac, mask=(row < rows) & (place[None, :] < size), other=0.0)
        two = tl.load(
            b + place[:, None] * br + column * bc, mask=(place[:, None] < size) & (column < columns), other=0.0
        )
        total += tl.dot(one.to(tl.float32), two.to(tl.float32), input_precision="ieee")
    tl.store(c + row * columns + column, total, mask=(row < rows) & (column < columns))


def product(fault: str) -> Any:
    def multiplied(a, b):
        (rows, size), columns = a.shape, b.shape[1]
        c = torch.empty((rows, columns), dtype=a.dtype)
        end = size // BLOCK * BLOCK if fault == "whole blocks" else size
        strides = a.stride() if fault != "strides" or a.stride(0) == 1 else (size, 1)
        grid = triton.cdiv(rows, BLOCK), triton.cdiv(columns, BLOCK)
        product_kernel[grid](a, b, c, rows, columns, size, end, *strides, *b.stride(), block=BLOCK)
        return c

    class Product(torch.autograd.Function):
        @staticmethod
        def forward(ctx, a, b):
            ctx.save_for_backward(a, b)
            return multiplied(a, b)

        @staticmethod
        def backward(ctx, grad_c):
            a, b = ctx.saved_tensors
            return multiplied(grad_c, b.T), multiplied(a.T, grad_c)

    return Product.apply, torch.matmul, {"a": (18, 35), "b": (35, 17)}


@triton.jit
def loss_kernel(x, targets, losses, grad_x, size, number, block: tl.constexpr):
    row, column = tl.program_id(0), tl.arange(0, block)
    values = tl.load(x + row * size + column, mask=column < size, other=float("-inf")).to(tl.float32)
    target = tl.load(targets + row)
    largest = tl.max(values, axis=0)
    total = tl.sum(tl.exp(values - largest), axis=0)
    tl.store(losses + row, largest + tl.log(total) - tl.sum(tl.where(column == target, values, 0.0), axis=0))
    p = tl.exp(values - largest) / total
    tl.store(grad_x + row * size + column, (p - tl.where(column == target, 1.0, 0.0)) / number, mask=column < size)


def loss(fault: str) -> Any:
    """Cross-entropy whose gradient is computed in the forward pass, as fused losses do."""

    class Loss(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, targets):
            x = x.contiguous()
            losses = torch.empty(len(x))
            grad_x = x if fault == "in place" else torch.empty_like(x)
            number = 1 if fault == "mean" else len(x)
            loss_kernel[(len(x),)](x, targets, losses, grad_x, x.shape[1], number, block=BLOCK)
            ctx.save_for_backward(grad_x)
            return losses.mean()

        @staticmethod
        def backward(ctx, grad):
            (grad_x,) = ctx.saved_tensors
            return (grad_x if fault == "upstream" else grad_x * grad.to(grad_x.dtype)), None

    def reference(x, targets):
        return torch.nn.functional.cross_entropy(x.float(), targets)

    return Loss.apply, reference, {"x": (6, 11)}


FAMILIES = {
    "softmax": (softmax, ("", "not masked", "no sum")),
    "product": (product, ("", "whole blocks", "strides")),
    "loss": (loss, ("", "upstream", "in place", "mean")),
}

if __name__ == "__main__":
    family, faults = FAMILIES[sys.argv[1]]
    for fault in faults:
        function, reference, shapes = family(fault)
        for dtype in (torch.float32, torch.bfloat16):
            torch.manual_seed(0)
            inputs = {name: torch.randn(shape).to(dtype) for name, shape in shapes.items()}
            if family is loss:
                inputs["targets"] = torch.randint(0, 11, (6,))
            codes = [each.code for each in crosscheck_function(function, reference, inputs).gradients.values()]
            print(f"{fault or 'right'}, {str(dtype).removeprefix('torch.')}: {' '.join(codes)}")
