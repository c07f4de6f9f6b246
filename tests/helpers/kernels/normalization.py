"""Normalisations: statistics of each row, and sums over the rows for the weights."""

from typing import Any

import torch
from torch.nn import functional

from kernels.common import Kernel, kernel, memory, normal, wide

EPS = 1e-6
BLOCK = 4


def rms_norm(fault: str = "") -> Any:
    """x / sqrt(mean x^2 + eps) * weight.

    With y = x r: dL/dx = r (g w - y mean(g w y)), dL/dw = sum over rows of g y.
    """

    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        if fault == "rows side by side":
            x = memory(x.reshape(-1, x.shape[-1])).view(x.shape)  # a copy where rows are not whole
        z = wide(x)
        scale = (z.square().mean(-1, keepdim=True) + EPS).rsqrt()
        ctx.save_for_backward(x, weight, scale)
        return (z * scale * wide(weight)).to(x.dtype)

    def backward(ctx: Any, upstream: torch.Tensor) -> Any:
        x, weight, scale = ctx.saved_tensors
        if fault == "rows of memory":
            upstream = memory(upstream)
        g, z, w = wide(upstream, x, weight)
        y = z * scale
        inner = g * w
        mean = (inner * y).mean(-1, keepdim=True)
        if fault == "sum":
            mean = (inner * y).sum(-1, keepdim=True)
        if fault == "no mean":
            mean = torch.zeros_like(mean)
        if fault == "without weight":
            inner = g
        if fault == "cubed":
            scale = scale * scale
        grad_x = scale * (inner - y * mean)
        terms = (g * (z if fault == "not normalised" else y)).reshape(-1, z.shape[-1])
        if fault == "first block":
            terms = terms[: len(terms) // BLOCK * BLOCK]
        grad_weight = terms.mean(0) if fault == "mean of rows" else terms.sum(0)
        if fault == "first axis":
            grad_weight = (g * y).sum(0)
            grad_weight = grad_weight if grad_weight.dim() == 1 else grad_weight[0]
        if fault == "low sums":
            grad_weight = torch.zeros_like(weight)
            for row in terms.to(weight.dtype):
                grad_weight = grad_weight + row
        if fault == "in place":
            x.sub_(x.mean())
        return grad_x.to(x.dtype), grad_weight.to(weight.dtype)

    return kernel(forward, backward)


def rms_norm_reference(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + EPS) * weight


def rows(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Any]:
    return {"x": normal(generator, 6, 8, dtype=dtype), "weight": normal(generator, 8, dtype=dtype)}


def rows_only(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Any]:
    return {"x": normal(generator, 6, 8, dtype=dtype)}


def many_rows(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Any]:
    return {"x": normal(generator, 300, 8, dtype=dtype), "weight": normal(generator, 8, dtype=dtype)}


def batches(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Any]:
    return {"x": normal(generator, 3, 4, 8, dtype=dtype), "weight": normal(generator, 8, dtype=dtype)}


def layer_norm(fault: str = "") -> Any:
    """(x - mean) / sqrt(var + eps) * weight + bias.

    With y the normalised row: dL/dx = r (g w - mean(g w) - y mean(g w y)).
    """

    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        z = wide(x)
        mean = z.mean(-1, keepdim=True)
        var = (
            (z.square().mean(-1, keepdim=True) - mean.square())
            if fault == "cancels"
            else (z - mean).square().mean(-1, keepdim=True)
        )
        scale = (var + EPS).rsqrt()
        kept = x.clone() if fault == "own copy" else x
        ctx.save_for_backward(kept, weight, mean, scale)
        return ((z - mean) * scale * wide(weight) + wide(bias)).to(x.dtype)

    def backward(ctx: Any, upstream: torch.Tensor) -> Any:
        x, weight, mean, scale = ctx.saved_tensors
        g, z, w = wide(upstream, x, weight)
        y = (z - mean) * scale
        inner = g * w
        first = inner.mean(-1, keepdim=True)
        second = (inner * y).mean(-1, keepdim=True)
        if fault == "no first mean":
            first = torch.zeros_like(first)
        if fault == "batch mean":
            second = (inner * y).mean(0, keepdim=True)
        size = z.shape[-1]
        correction = size / (size - 1) if fault == "unbiased" else 1.0
        grad_x = scale * (inner - first - correction * y * second)
        axes = tuple(range(z.dim() - 1))
        if fault == "first axis":
            axes = (0,)
        grad_weight = (g * y).sum(axes)
        grad_bias = g.sum(axes)
        if fault == "swapped":
            grad_weight, grad_bias = grad_bias, grad_weight
        if fault == "last row":
            grad_bias = g.reshape(-1, size)[:-1].sum(0)
        if fault == "eps":
            grad_x = grad_x * (1 + 1e-4)
        needed = ctx.needs_input_grad
        if fault == "needed":
            return (grad_x.to(x.dtype), grad_weight.to(w.dtype) if needed[0] else None, grad_bias)
        if fault == "no bias":
            return grad_x.to(x.dtype), grad_weight.to(weight.dtype), None
        return grad_x.to(x.dtype), grad_weight.to(weight.dtype), grad_bias.to(weight.dtype)

    return kernel(forward, backward)


def layer_norm_reference(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return functional.layer_norm(x, weight.shape, weight, bias, EPS)


def with_bias(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Any]:
    return {**rows(generator, dtype), "bias": normal(generator, 8, dtype=dtype)}


def far_from_zero(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Any]:
    given = with_bias(generator, dtype)
    return {**given, "x": given["x"] + 1000}


def batches_with_bias(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Any]:
    return {**batches(generator, dtype), "bias": normal(generator, 8, dtype=dtype)}


def l2_normalize(fault: str = "") -> Any:
    """x / max(|x|, eps)."""

    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        length = wide(x).norm(dim=-1, keepdim=True).clamp_min(1e-12)
        y = wide(x) / length
        ctx.save_for_backward(y.to(x.dtype), length)
        return y.to(x.dtype)

    def backward(ctx: Any, upstream: torch.Tensor) -> torch.Tensor:
        y, length = ctx.saved_tensors
        g, z = wide(upstream, y)
        inner = (g * z).sum(-1, keepdim=True)
        if fault == "absolute":
            inner = inner.abs()
        if fault == "twice":
            length = length * length
        return ((g - z * inner) / length).to(y.dtype)

    return kernel(forward, backward)


def l2_reference(x: torch.Tensor) -> torch.Tensor:
    return functional.normalize(x, dim=-1)


def batch_norm(fault: str = "") -> Any:
    """Statistics over the batch and the pixels."""

    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        z = wide(x)
        mean = z.mean((0, 2), keepdim=True)
        scale = ((z - mean).square().mean((0, 2), keepdim=True) + EPS).rsqrt()
        ctx.save_for_backward(x, weight, mean, scale)
        return ((z - mean) * scale * wide(weight)[:, None]).to(x.dtype)

    def backward(ctx: Any, upstream: torch.Tensor) -> Any:
        x, weight, mean, scale = ctx.saved_tensors
        g, z, w = wide(upstream, x, weight)
        y = (z - mean) * scale
        inner = g * w[:, None]
        axes = (0,) if fault == "batch only" else (0, 2)
        if fault == "constant statistics":
            grad_x = inner * scale
        else:
            centred = inner - inner.mean(axes, keepdim=True)
            grad_x = scale * (centred - y * (inner * y).mean(axes, keepdim=True))
        return grad_x.to(x.dtype), (g * y).sum((0, 2)).to(weight.dtype)

    return kernel(forward, backward)


def batch_norm_reference(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    return functional.batch_norm(x, None, None, weight, None, training=True, eps=EPS)


def channels(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Any]:
    return {"x": normal(generator, 5, 3, 4, dtype=dtype), "weight": normal(generator, 3, dtype=dtype)}


WRONG = "derivative path partial term"
R, L = rms_norm_reference, layer_norm_reference
FAULTS = [
    Kernel("RMS norm sums where it should average", rms_norm("sum"), R, rows, WRONG, "x"),
    Kernel("RMS norm takes its scale for a constant", rms_norm("no mean"), R, rows, WRONG, "x"),
    Kernel("RMS norm forgets the weight", rms_norm("without weight"), R, rows, WRONG, "x"),
    Kernel("RMS norm scales twice", rms_norm("cubed"), R, rows, WRONG, "x"),
    Kernel("RMS norm's weight gets x, not normalised", rms_norm("not normalised"), R, rows, WRONG, "weight"),
    Kernel("RMS norm leaves out the last rows", rms_norm("first block"), R, rows, "upstream", "weight"),
    Kernel("RMS norm averages over rows", rms_norm("mean of rows"), R, rows, "scale", "weight"),
    Kernel("RMS norm sums over one axis of two", rms_norm("first axis"), R, batches, "upstream", "weight"),
    Kernel("RMS norm's input has rows side by side", rms_norm("rows side by side"), R, batches, "layout", "output"),
    Kernel("RMS norm reads rows as contiguous", rms_norm("rows of memory"), R, rows, "layout", "x"),
    Kernel("RMS norm centres its input in place", rms_norm("in place"), R, rows, "side-effect", "x"),
    Kernel(
        "RMS norm adds up rows in bfloat16", rms_norm("low sums"), R, many_rows, "precision", "weight", torch.bfloat16
    ),
    Kernel(
        "RMS norm adds up rows in float16", rms_norm("low sums"), R, many_rows, "precision", "weight", torch.float16
    ),
    Kernel("layer norm forgets the first mean", layer_norm("no first mean"), L, with_bias, WRONG, "x"),
    Kernel("layer norm averages over the batch", layer_norm("batch mean"), L, with_bias, WRONG, "x"),
    Kernel("layer norm's variance is unbiased in one term", layer_norm("unbiased"), L, with_bias, WRONG, "x"),
    Kernel("layer norm swaps weight and bias", layer_norm("swapped"), L, with_bias, "permutation", "weight"),
    Kernel("layer norm leaves out the last row", layer_norm("last row"), L, with_bias, "upstream", "bias"),
    Kernel("layer norm is off by one in ten thousand", layer_norm("eps"), L, with_bias, "scale", "x"),
    Kernel("layer norm has None for its bias", layer_norm("no bias"), L, with_bias, "missing", "bias"),
    Kernel("layer norm has None if x is frozen", layer_norm("needed"), L, with_bias, "missing", "weight"),
    Kernel("layer norm's variance cancels", layer_norm("cancels"), L, far_from_zero, "precision", "output"),
    Kernel("normalize takes a length twice", l2_normalize("twice"), l2_reference, rows_only, WRONG, "x"),
    Kernel("normalize drops a sign", l2_normalize("absolute"), l2_reference, rows_only, WRONG + " upstream", "x"),
    Kernel(
        "batch norm averages over the batch alone", batch_norm("batch only"), batch_norm_reference, channels, WRONG, "x"
    ),
    Kernel(
        "batch norm takes its statistics for constants",
        batch_norm("constant statistics"),
        batch_norm_reference,
        channels,
        WRONG,
        "x",
    ),
]
RIGHT = [
    Kernel("RMS norm", rms_norm(), R, rows),
    Kernel("RMS norm of batches", rms_norm(), R, batches),
    Kernel("RMS norm of many rows", rms_norm(), R, many_rows),
    Kernel("layer norm", layer_norm(), L, with_bias),
    Kernel("layer norm far from zero", layer_norm(), L, far_from_zero),
    Kernel("layer norm of batches", layer_norm(), L, batches_with_bias),
    Kernel("layer norm leaves the rest of a sum to autograd", layer_norm("first axis"), L, batches_with_bias),
    Kernel("layer norm with a copy of its input", layer_norm("own copy"), L, with_bias),
    Kernel("normalize keeps its output", l2_normalize(), l2_reference, rows_only),
    Kernel("batch norm", batch_norm(), batch_norm_reference, channels),
]
