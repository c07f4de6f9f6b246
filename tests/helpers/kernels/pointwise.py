"""Gates, activations, dropout: each entry by itself."""

import math
from typing import Any

import torch
from torch.nn import functional

from kernels.common import Kernel, kernel, memory, normal, wide

BLOCK = 8


def swiglu(fault: str = "") -> Any:
    """a sigmoid(a) b, as in the feed-forward layers of Llama."""

    def forward(ctx: Any, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(a, b)
        x, y = wide(a, b)
        return (x * torch.sigmoid(x) * y).to(a.dtype)

    def backward(ctx: Any, upstream: torch.Tensor) -> Any:
        a, b = ctx.saved_tensors
        if fault == "memory":
            upstream = memory(upstream)
        if fault == "input memory":
            a = memory(a)
        g, x, y = wide(upstream, a, b)
        gate = torch.sigmoid(x)
        if fault == "low sigmoid":
            gate = torch.sigmoid(x.bfloat16()).to(x.dtype)
        slope = gate + x * gate * (1 - gate)
        if fault == "slope":
            slope = gate * (1 - gate)
        if fault == "sign":
            slope = gate - x * gate * (1 - gate)
        if fault == "gate":
            slope = gate
        grad_a, grad_b = g * y * slope, g * x * gate
        if fault == "tail":
            grad_a.view(-1)[grad_a.numel() // BLOCK * BLOCK :] = 0
        if fault == "swapped":
            grad_a, grad_b = grad_b, grad_a
        if fault == "ones":
            grad_a = y * slope
        if fault == "in place":
            a.copy_(grad_a)
            return a, grad_b.to(b.dtype)
        if fault == "upstream in place":
            upstream.mul_(0.5)
        return grad_a.to(a.dtype), grad_b.to(b.dtype)

    return kernel(forward, backward)


def swiglu_reference(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return functional.silu(a) * b


def gates(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Any]:
    return {"a": normal(generator, 5, 7, dtype=dtype), "b": normal(generator, 5, 7, dtype=dtype)}


def gelu(fault: str = "") -> Any:
    """x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))."""

    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return functional.gelu(x, approximate="tanh")

    def backward(ctx: Any, upstream: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors
        g, z = wide(upstream, x)
        root = math.sqrt(2 / math.pi)
        t = torch.tanh(root * (z + 0.044715 * z**3))
        cubic = 0.044715 if fault == "factor 3" else 3 * 0.044715
        slope = root * (1 + cubic * z**2)
        inner = (1 - t) if fault == "square" else (1 - t * t)
        grad = 0.5 * (1 + t) + 0.5 * z * inner * slope
        return (g * grad).to(x.dtype)

    return kernel(forward, backward)


def one(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Any]:
    return {"x": normal(generator, 6, 5, dtype=dtype)}


def log_sigmoid(fault: str = "") -> Any:
    """-log(1 + exp(-x)); its derivative is sigmoid(-x), not 1 - sigmoid(x)."""

    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return functional.logsigmoid(wide(x)).to(x.dtype)

    def backward(ctx: Any, upstream: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors
        g, z = wide(upstream, x)
        slope = 1 - torch.sigmoid(x) if fault == "cancels" else torch.sigmoid(-z)
        return (g * slope).to(x.dtype)

    return kernel(forward, backward)


def large(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Any]:
    return {"x": 6 * normal(generator, 6, 5, dtype=dtype)}


def dropout(fault: str = "") -> Any:
    """x / (1 - p) where it is kept; the mask is an input."""

    def forward(ctx: Any, x: torch.Tensor, keep: torch.Tensor, p: float) -> torch.Tensor:
        ctx.save_for_backward(keep)
        ctx.p = p
        return x * keep / (1 - p)

    def backward(ctx: Any, upstream: torch.Tensor) -> Any:
        (keep,) = ctx.saved_tensors
        if fault == "mask":
            keep = keep.flip(0)
        scale = 1.0 if fault == "scale" else 1 / (1 - ctx.p)
        return upstream * keep * scale, None, None

    return kernel(forward, backward)


def drawn_dropout(fault: str = "") -> Any:
    """Dropout that draws its own mask."""

    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        keep = torch.rand(x.shape) > 0.4 if fault != "again" else None
        ctx.save_for_backward(x, keep)
        return x * (torch.rand(x.shape) > 0.4 if keep is None else keep) / 0.6

    def backward(ctx: Any, upstream: torch.Tensor) -> torch.Tensor:
        x, keep = ctx.saved_tensors
        return upstream * (torch.rand(x.shape) > 0.4 if keep is None else keep).flip(0 if fault else ()) / 0.6

    return kernel(forward, backward)


def masks(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Any]:
    x = normal(generator, 6, 5, dtype=dtype)
    return {"x": x, "keep": torch.rand(x.shape, generator=generator) > 0.4, "p": 0.4}


def clamp(fault: str = "") -> Any:
    """min(max(x, -1), 1): nothing flows where it is cut off."""

    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x)
        return x.clamp(-1, 1)

    def backward(ctx: Any, upstream: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors
        inside = (x >= -1) if fault == "one side" else (x >= -1) & (x <= 1)
        if fault == "twice at the limit":
            inside = inside.int() + (x.abs() == 1).int()
        return upstream * inside

    return kernel(forward, backward)


def clamped(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Any]:
    x = 2 * normal(generator, 6, 5, dtype=dtype)
    x[0, :3] = torch.tensor([-1.0, 1.0, 0.0])
    return {"x": x}


def larger(fault: str = "") -> Any:
    """max(a, b); of two equal entries each gets half."""

    def forward(ctx: Any, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(a, b)
        return torch.maximum(a, b)

    def backward(ctx: Any, upstream: torch.Tensor) -> Any:
        a, b = ctx.saved_tensors
        if fault == "both":
            return upstream * (a >= b), upstream * (a <= b)
        tied = (a == b) * 0.5
        return upstream * ((a > b) + tied), upstream * ((a < b) + tied)

    return kernel(forward, backward)


def tied(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Any]:
    a, b = normal(generator, 6, 5, dtype=dtype), normal(generator, 6, 5, dtype=dtype)
    b[:, 2] = a[:, 2]
    return {"a": a, "b": b}


def norm(fault: str = "") -> Any:
    """The length of each row; PyTorch's gradient at a zero row is zero."""

    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        length = wide(x).square().sum(-1).sqrt()
        ctx.save_for_backward(x, length)
        return length.to(x.dtype)

    def backward(ctx: Any, upstream: torch.Tensor) -> torch.Tensor:
        x, length = ctx.saved_tensors
        below = length if fault == "zero row" else length.masked_fill(length == 0, 1.0)
        return (wide(upstream) / below).unsqueeze(-1).mul(wide(x)).to(x.dtype)

    return kernel(forward, backward)


def zero_row(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Any]:
    x = normal(generator, 6, 5, dtype=dtype)
    x[2] = 0
    return {"x": x}


def _drawn_reference(x: torch.Tensor) -> torch.Tensor:
    return x * (torch.rand(x.shape, dtype=torch.float32) > 0.4) / 0.6


def _gelu_reference(x: torch.Tensor) -> torch.Tensor:
    return functional.gelu(x, approximate="tanh")


def _dropout_reference(x: torch.Tensor, keep: torch.Tensor, p: float) -> torch.Tensor:
    return torch.where(keep, x / (1 - p), torch.zeros_like(x))


def _clamp_reference(x: torch.Tensor) -> torch.Tensor:
    return x.clamp(-1, 1)


def _norm_reference(x: torch.Tensor) -> torch.Tensor:
    return torch.linalg.vector_norm(x, dim=-1)


S, WRONG = swiglu_reference, "derivative path partial term"
FAULTS = [
    Kernel("SwiGLU's slope is the sigmoid's alone", swiglu("slope"), S, gates, WRONG, "a"),
    Kernel("SwiGLU's slope has a minus for a plus", swiglu("sign"), S, gates, WRONG, "a"),
    Kernel("SwiGLU takes the gate for a constant", swiglu("gate"), S, gates, WRONG, "a"),
    Kernel("SwiGLU leaves out what no block holds", swiglu("tail"), S, gates, "partial", "a"),
    Kernel("SwiGLU returns its gradients swapped", swiglu("swapped"), S, gates, "permutation", "a"),
    Kernel("SwiGLU takes the upstream gradient for ones", swiglu("ones"), S, gates, "upstream", "a"),
    Kernel("SwiGLU reads the upstream gradient as contiguous", swiglu("memory"), S, gates, "layout", "a"),
    Kernel("SwiGLU reads its input as contiguous", swiglu("input memory"), S, gates, "layout", "a"),
    Kernel("SwiGLU writes the gradient into its input", swiglu("in place"), S, gates, "side-effect", "a"),
    Kernel("SwiGLU scales the upstream gradient in place", swiglu("upstream in place"), S, gates, "side-effect"),
    Kernel("GELU's cubic term lacks its 3", gelu("factor 3"), _gelu_reference, one, WRONG, "x"),
    Kernel("GELU's 1 - t^2 is 1 - t", gelu("square"), _gelu_reference, one, WRONG, "x"),
    Kernel(
        "log sigmoid's slope cancels",
        log_sigmoid("cancels"),
        functional.logsigmoid,
        large,
        "precision",
        "x",
        torch.bfloat16,
    ),
    Kernel("dropout forgets 1 / (1 - p)", dropout("scale"), _dropout_reference, masks, "scale", "x"),
    Kernel("dropout takes another mask", dropout("mask"), _dropout_reference, masks, WRONG, "x"),
    Kernel("dropout draws again", drawn_dropout("again"), _drawn_reference, one, f"side-effect {WRONG}", "x"),
    Kernel("clamp cuts off on one side", clamp("one side"), _clamp_reference, clamped, WRONG, "x"),
    Kernel("clamp counts its limits twice", clamp("twice at the limit"), _clamp_reference, clamped, WRONG, "x"),
    Kernel("max gives all to both of a tie", larger("both"), torch.maximum, tied, WRONG, "a"),
    Kernel("norm divides by the length of a zero row", norm("zero row"), _norm_reference, zero_row, "nonfinite", "x"),
]
RIGHT = [
    Kernel("SwiGLU", swiglu(), S, gates),
    Kernel("GELU", gelu(), _gelu_reference, one),
    Kernel("log sigmoid of large numbers", log_sigmoid(), functional.logsigmoid, large),
    Kernel("dropout with its mask", dropout(), _dropout_reference, masks),
    Kernel("dropout that draws", drawn_dropout(), _drawn_reference, one),
    Kernel("clamp at its limits", clamp(), _clamp_reference, clamped),
    Kernel("max with ties", larger(), torch.maximum, tied),
    Kernel("norm of a zero row", norm(), _norm_reference, zero_row),
]
