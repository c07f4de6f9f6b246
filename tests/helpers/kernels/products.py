"""Products of matrices: linear layers, attention, convolutions."""

import math
from typing import Any

import torch
from torch.nn import functional

from kernels.common import Kernel, kernel, memory, normal, wide

BLOCK = 4


def linear(fault: str = "") -> Any:
    """x weight^T + bias, for x of any rank."""

    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        return (wide(x) @ wide(weight).T + wide(bias)).to(x.dtype)

    def backward(ctx: Any, upstream: torch.Tensor) -> Any:
        x, weight = ctx.saved_tensors
        if fault == "memory":
            upstream = memory(upstream)
        g, z, w = wide(upstream, x, weight)
        grad_x = g @ (w.T if fault == "square" else w)
        if fault == "view":
            rows, seen = upstream.view(-1, upstream.shape[-1]), z.reshape(-1, z.shape[-1])
        else:
            rows, seen = g.reshape(-1, g.shape[-1]), z.reshape(-1, z.shape[-1])
        grad_weight = rows.to(z.dtype).T @ seen
        if fault == "transposed":
            grad_weight = grad_weight.T.contiguous()
        if fault == "mean":
            grad_weight = grad_weight / len(rows)
        grad_bias = rows.sum(0)
        if fault == "bias of batch":
            grad_bias = g[0].reshape(-1, g.shape[-1]).sum(0)
        if fault == "decay":
            grad_weight = grad_weight + 0.01 * w
        if fault == "blocks":
            grad_x[..., grad_x.shape[-1] // BLOCK * BLOCK :] = 0
        return grad_x.to(x.dtype), grad_weight.to(weight.dtype), grad_bias.to(weight.dtype)

    return kernel(forward, backward)


def features(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Any]:
    shapes = {"x": (6, 7), "weight": (5, 7), "bias": (5,)}
    return {name: normal(generator, *shape, dtype=dtype) for name, shape in shapes.items()}


def square(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Any]:
    shapes = {"x": (6, 5), "weight": (5, 5), "bias": (5,)}
    return {name: normal(generator, *shape, dtype=dtype) for name, shape in shapes.items()}


def sequences(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Any]:
    return {**features(generator, dtype), "x": normal(generator, 2, 3, 7, dtype=dtype)}


def attention(fault: str = "", causal: bool = True, low: bool = False) -> Any:
    """softmax(q k^T / sqrt(d)) v, with P recomputed from the kept logarithms of its denominators.

    dS = P (dP - D), with D = sum(g o) over the channels of the value.
    """

    def kept(q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        """Return the scores, with what lies in the future left out."""
        found = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        future = torch.ones(found.shape[-2:], dtype=torch.bool).triu(found.shape[-1] - found.shape[-2] + 1)
        return found.masked_fill(future, -torch.inf) if causal else found

    def stored(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        """Round a factor of a product as tensor cores want it."""
        return x.to(like.dtype).to(x.dtype) if low else x

    def repeat(x: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
        return x.repeat_interleave(query.shape[1] // x.shape[1], 1)

    def forward(ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        q, k, v = wide(query, repeat(key, query), repeat(value, query))
        scores = kept(q, k)
        total = scores.logsumexp(-1, keepdim=True)
        output = (stored((scores - total).exp(), query) @ v).to(query.dtype)
        ctx.save_for_backward(query, key, value, output, total)
        return output

    def backward(ctx: Any, upstream: torch.Tensor) -> Any:
        query, key, value, output, total = ctx.saved_tensors
        if fault == "contiguous":
            assert upstream.is_contiguous()
        if fault == "memory":
            upstream = memory(upstream)
        g, q, k, v, o = wide(upstream, query, repeat(key, query), repeat(value, query), output)
        scores = kept(q, k)
        if fault == "no mask":
            scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])
        p = (scores - total).exp()
        if fault == "key channels":
            size = q.shape[-1]
            delta = (g[..., :size] * o[..., :size]).sum(-1, keepdim=True)
        else:
            delta = (g * o).sum(-1, keepdim=True)
        if fault == "no delta":
            delta = torch.zeros_like(delta)
        grad_scores = p * (g @ v.transpose(-1, -2) - delta)
        scale = 1.0 if fault == "no scale" else 1 / math.sqrt(q.shape[-1])
        grad_q = stored(grad_scores, query) @ k * scale
        grad_k = stored(grad_scores, query).transpose(-1, -2) @ q * (1 / math.sqrt(q.shape[-1]))
        grad_v = stored(p, query).transpose(-1, -2) @ g

        def grouped(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
            heads = x.unflatten(1, (like.shape[1], -1))
            if fault == "first head":
                return heads[:, :, 0]
            if fault == "interleaved":
                return x.unflatten(1, (-1, like.shape[1])).sum(1)
            return heads.mean(2) if fault == "mean of heads" else heads.sum(2)

        gradients = grad_q, grouped(grad_k, key), grouped(grad_v, value)
        return tuple(each.to(like.dtype) for each, like in zip(gradients, (query, key, value), strict=True))

    return kernel(forward, backward)


def attention_reference(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    group = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(group, 1), value.repeat_interleave(group, 1)
    scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])
    future = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
    return scores.masked_fill(future, -torch.inf).softmax(-1) @ value


def full_attention_reference(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    return (query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1])).softmax(-1) @ value


def heads(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Any]:
    shapes = {"query": (1, 2, 5, 3), "key": (1, 2, 5, 3), "value": (1, 2, 5, 6)}
    return {name: normal(generator, *shape, dtype=dtype) for name, shape in shapes.items()}


def groups(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Any]:
    shapes = {"query": (1, 4, 5, 3), "key": (1, 2, 5, 3), "value": (1, 2, 5, 3)}
    return {name: normal(generator, *shape, dtype=dtype) for name, shape in shapes.items()}


def convolution(fault: str = "") -> Any:
    """A causal convolution of each channel along time, as in Mamba."""

    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        return convolution_reference(wide(x), wide(weight)).to(x.dtype)

    def backward(ctx: Any, upstream: torch.Tensor) -> Any:
        x, weight = ctx.saved_tensors
        g, z, w = wide(upstream, x, weight)
        width, time = w.shape[-1], z.shape[-1]
        grad_x, grad_weight = torch.zeros_like(z), torch.zeros_like(w)
        for tap in range(width):
            shift = width - 1 - tap
            seen = w[:, width - 1 - tap] if fault == "flipped" else w[:, tap]
            grad_x[..., : time - shift] += g[..., shift:] * seen[:, None]
            grad_weight[:, tap] = (g[..., shift:] * z[..., : time - shift]).sum((0, -1))
        if fault == "last batch":
            grad_weight = torch.stack(
                [(g[-1, :, s:] * z[-1, :, : time - s]).sum(-1) for s in range(width - 1, -1, -1)], -1
            )
        if fault == "edge":
            grad_x[..., -1] = 0
        return grad_x.to(x.dtype), grad_weight.to(weight.dtype)

    return kernel(forward, backward)


def convolution_reference(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    padded = functional.pad(x, (weight.shape[-1] - 1, 0))
    return functional.conv1d(padded, weight[:, None], groups=len(weight))


def signals(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Any]:
    return {"x": normal(generator, 2, 3, 6, dtype=dtype), "weight": normal(generator, 3, 4, dtype=dtype)}


LIN, ATT = functional.linear, attention_reference
WRONG = "derivative path partial"
FAULTS = [
    Kernel("linear multiplies by the transposed weight", linear("square"), LIN, square, WRONG, "x"),
    Kernel("linear returns the weight's gradient transposed", linear("transposed"), LIN, square, "transpose", "weight"),
    Kernel("linear of rows has no transposed shape", linear("transposed"), LIN, features, "shape", "weight"),
    Kernel("linear averages over rows", linear("mean"), LIN, features, "scale", "weight"),
    Kernel("linear's bias sees the first of the batch", linear("bias of batch"), LIN, sequences, "upstream", "bias"),
    Kernel("linear decays its weight", linear("decay"), LIN, features, "term", "weight"),
    Kernel("linear leaves out the last columns", linear("blocks"), LIN, features, "partial", "x"),
    Kernel("linear reads the upstream gradient as contiguous", linear("memory"), LIN, features, "layout", "x"),
    Kernel("linear views the upstream gradient as rows", linear("view"), LIN, sequences, "layout", "weight"),
    Kernel(
        "attention forgets its mask on the way back", attention("no mask"), ATT, heads, WRONG + " nonfinite", "query"
    ),
    Kernel("attention forgets its scale", attention("no scale"), ATT, heads, "scale", "query"),
    Kernel("attention leaves out delta", attention("no delta"), ATT, heads, WRONG, "query"),
    Kernel(
        "attention's delta sees as many channels as the key", attention("key channels"), ATT, heads, "upstream", "query"
    ),
    Kernel("attention demands a contiguous upstream gradient", attention("contiguous"), ATT, heads, "layout", "query"),
    Kernel("attention reads the upstream gradient as contiguous", attention("memory"), ATT, heads, "layout", "value"),
    Kernel("attention keeps the first head of a group", attention("first head"), ATT, groups, WRONG, "key"),
    Kernel("attention averages over a group", attention("mean of heads"), ATT, groups, "scale", "key"),
    Kernel("attention groups heads the other way", attention("interleaved"), ATT, groups, WRONG, "key"),
    Kernel("convolution flips its weight", convolution("flipped"), convolution_reference, signals, WRONG, "x"),
    Kernel(
        "convolution's weight sees the last of the batch",
        convolution("last batch"),
        convolution_reference,
        signals,
        "upstream",
        "weight",
    ),
    Kernel("convolution leaves out the last step", convolution("edge"), convolution_reference, signals, "partial", "x"),
]
RIGHT = [
    Kernel("linear", linear(), LIN, features),
    Kernel("linear of sequences", linear(), LIN, sequences),
    Kernel("causal attention", attention(), ATT, heads),
    Kernel("attention with grouped heads", attention(), ATT, groups),
    Kernel("attention with rounded factors", attention(low=True), ATT, heads),
    Kernel("full attention", attention(causal=False), full_attention_reference, heads),
    Kernel("causal convolution", convolution(), convolution_reference, signals),
]
