"""Functions that go along their axes in blocks of a fixed size, as kernels do, and what else those get wrong."""

from typing import Any

import torch
from torch.nn import functional

from kernels.common import Kernel, kernel, normal, wide

BLOCK = 8
EPS = 1e-6


def padded(x: torch.Tensor, value: float) -> torch.Tensor:
    """Return rows that fill whole blocks."""
    return functional.pad(x, (0, -x.shape[-1] % BLOCK), value=value)


def softmax(fault: str = "") -> Any:
    """Softmax of rows, loaded with minus infinity beyond their end."""

    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        rows = padded(wide(x), 0.0 if fault == "zeros" else -torch.inf)
        y = rows.softmax(-1)[..., : x.shape[-1]].to(x.dtype)
        ctx.save_for_backward(y)
        return y

    def backward(ctx: Any, upstream: torch.Tensor) -> torch.Tensor:
        g, y = wide(upstream, *ctx.saved_tensors)
        return (y * (g - (g * y).sum(-1, keepdim=True))).to(upstream.dtype)

    return kernel(forward, backward)


def layer_norm(fault: str = "") -> Any:
    """(x - mean) / sqrt(var + eps), of rows that are loaded with zeros beyond their end."""

    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        size, rows = x.shape[-1], padded(wide(x), 0.0)
        mean = rows.sum(-1, keepdim=True) / size
        centred = rows - mean
        if fault != "not masked":
            centred = centred[..., :size]
        scale = (centred.square().sum(-1, keepdim=True) / size + EPS).rsqrt()
        y = centred[..., :size] * scale
        ctx.save_for_backward(y, scale)
        return y.to(x.dtype)

    def backward(ctx: Any, upstream: torch.Tensor) -> torch.Tensor:
        g, y, scale = wide(upstream, *ctx.saved_tensors)
        means = g.mean(-1, keepdim=True) + y * (g * y).mean(-1, keepdim=True)
        return (scale * (g - means)).to(upstream.dtype)

    return kernel(forward, backward)


def matmul(fault: str = "") -> Any:
    """x y, by a product that goes along the axis between them in blocks."""

    def product(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        size = x.shape[-1] // BLOCK * BLOCK if fault == "whole blocks" else x.shape[-1]
        return (wide(x)[..., :size] @ wide(y)[..., :size, :]).to(x.dtype)

    def forward(ctx: Any, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x, y)
        return product(x, y)

    def backward(ctx: Any, upstream: torch.Tensor) -> Any:
        x, y = ctx.saved_tensors
        turned = x.reshape(x.shape[1], x.shape[0]) if fault == "reshaped" else x.T
        if fault == "last block":
            first = (len(x) - 1) // BLOCK * BLOCK
            return product(upstream, y.T), product(turned[:, first:], upstream[first:])
        return product(upstream, y.T), product(turned, upstream)

    return kernel(forward, backward)


def gelu(fault: str = "") -> Any:
    """x Phi(x), and Phi(x) + x phi(x); there is an approximation by tanh, with a derivative of its own."""

    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return functional.gelu(wide(x), approximate="tanh" if fault == "forward" else "none").to(x.dtype)

    def backward(ctx: Any, upstream: torch.Tensor) -> torch.Tensor:
        g, x = wide(upstream, *ctx.saved_tensors)
        approximate = "tanh" if fault == "backward" else "none"
        return torch.ops.aten.gelu_backward(g, x, approximate=approximate).to(upstream.dtype)

    return kernel(forward, backward)


def prelu(fault: str = "") -> Any:
    """x where it is positive, a x elsewhere, with a number a for each channel."""

    def forward(ctx: Any, x: torch.Tensor, a: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x, a)
        return functional.prelu(x, a)

    def backward(ctx: Any, upstream: torch.Tensor) -> Any:
        g, x, a = wide(upstream, *ctx.saved_tensors)
        positive = x < 0 if fault == "other side" else x > 0
        terms = g * (x if fault == "all" else x.clamp(max=0))
        return torch.where(positive, g, a * g).to(upstream.dtype), terms.sum(0).to(upstream.dtype)

    return kernel(forward, backward)


def rotation(fault: str = "") -> Any:
    """Pairs turned by an angle of their own; the gradient is turned back."""

    def turned(x: torch.Tensor, angle: torch.Tensor) -> torch.Tensor:
        one, two = wide(x).chunk(2, -1)
        c, s = angle.cos(), angle.sin()
        return torch.cat([one * c - two * s, two * c + one * s], -1).to(x.dtype)

    def forward(ctx: Any, x: torch.Tensor, angle: torch.Tensor) -> torch.Tensor:
        ctx.angle = angle
        return turned(x, angle)

    def backward(ctx: Any, upstream: torch.Tensor) -> Any:
        if fault == "not at all":
            return upstream, None
        return turned(upstream, ctx.angle if fault == "forwards" else -ctx.angle), None

    return kernel(forward, backward)


def _rotation_reference(x: torch.Tensor, angle: torch.Tensor) -> torch.Tensor:
    c, s = angle.detach().cos(), angle.detach().sin()
    one, two = x.chunk(2, -1)
    return torch.cat([one * c - two * s, two * c + one * s], -1)


def rows(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Any]:
    return {"x": normal(generator, 6, 13, dtype=dtype) + 1}


def factors(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Any]:
    return {"x": normal(generator, 11, 21, dtype=dtype), "y": normal(generator, 21, 10, dtype=dtype)}


def channels(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Any]:
    return {"x": normal(generator, 9, 12, dtype=dtype), "a": normal(generator, 12, dtype=dtype)}


def pairs(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Any]:
    return {
        "x": normal(generator, 5, 8, dtype=dtype),
        "angle": torch.arange(5.0)[:, None] * torch.tensor([1, 0.3, 0.1, 0.03]),
    }


def _layer_norm_reference(x: torch.Tensor) -> torch.Tensor:
    return functional.layer_norm(x, x.shape[-1:], eps=EPS)


def _softmax_reference(x: torch.Tensor) -> torch.Tensor:
    return x.softmax(-1)


def _squares(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return (x @ y).square().sum()


def summed(function: Any) -> Any:
    """Return a function of which only a sum of squares is seen: its upstream gradient says nothing of blocks."""
    return lambda x, y: function(x, y).square().sum()


WRONG = "derivative path"
FAULTS = [
    Kernel("softmax counts zeros beyond its rows", softmax("zeros"), _softmax_reference, rows, WRONG, "output"),
    Kernel("layer norm's variance is not masked", layer_norm("not masked"), _layer_norm_reference, rows, WRONG, "x"),
    Kernel("a product leaves out what no block holds", matmul("whole blocks"), torch.matmul, factors, WRONG, "output"),
    Kernel("a product reshapes a factor", matmul("reshaped"), torch.matmul, factors, WRONG, "y"),
    Kernel("a product's last block overwrites", summed(matmul("last block")), _squares, factors, WRONG, "y"),
    Kernel("GELU by tanh forward", gelu("forward"), functional.gelu, rows, WRONG, "output"),
    Kernel("GELU by tanh backward", gelu("backward"), functional.gelu, rows, WRONG, "x"),
    Kernel("PReLU takes the other side", prelu("other side"), functional.prelu, channels, WRONG, "x"),
    Kernel("PReLU's slope counts what is positive", prelu("all"), functional.prelu, channels, WRONG, "a"),
    Kernel("pairs are turned on, not back", rotation("forwards"), _rotation_reference, pairs, WRONG, "x"),
    Kernel("pairs are not turned back", rotation("not at all"), _rotation_reference, pairs, WRONG, "x"),
]
RIGHT = [
    Kernel("softmax of rows in blocks", softmax(), _softmax_reference, rows),
    Kernel("layer norm of rows in blocks", layer_norm(), _layer_norm_reference, rows),
    Kernel("a product in blocks", matmul(), torch.matmul, factors),
    Kernel("GELU by the error function", gelu(), functional.gelu, rows),
    Kernel("PReLU", prelu(), functional.prelu, channels),
    Kernel("pairs turned back", rotation(), _rotation_reference, pairs),
]
