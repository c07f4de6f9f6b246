"""What each layer is timed on: inputs of the size of a training step, and PyTorch's function of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch.nn import functional

IMAGES, CHANNEL = (32, 32, 28, 28), (32,)
"""The maps of the assignment's convolution."""
TOKENS, HEADS, FEATURE = (12, 64, 128), (12, 4, 64, 32), (128,)
"""Sequences of the small GPT."""
UNITS, LOGITS = (1000, 1000), (1000, 10)
"""Hidden units and outputs of the assignment's network, for a block of examples."""
SEQUENCE, STATE = (32, 32, 64), (32, 128)


@dataclass(frozen=True)
class Problem:
    """A layer's floating inputs by shape, PyTorch's function of all inputs in order, and what else the layer takes.

    `others` are its inputs that have no gradient, which follow; they are drawn from a generator.
    """

    shapes: Mapping[str, tuple[int, ...]]
    reference: Callable[..., Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    others: Callable[[np.random.Generator], Mapping[str, Any]] = lambda _: {}


def recurrent(gates: int, *states: str) -> Mapping[str, tuple[int, ...]]:
    """Return the shapes of a recurrent layer."""
    rows, units = gates * STATE[1], STATE[1]
    weights = {"weight_ih": (rows, SEQUENCE[2]), "weight_hh": (rows, units), "bias_ih": (rows,), "bias_hh": (rows,)}
    return {"x": SEQUENCE, **dict.fromkeys(states, STATE), **weights}


def lstm(x, h0, c0, *weights):  # type: ignore[no-untyped-def]
    """Call PyTorch's LSTM with its weights as arguments."""
    outputs, h, c = torch.lstm(x, (h0[None], c0[None]), weights, True, 1, 0.0, True, False, False)
    return outputs, h[0], c[0]


def gru(x, h0, *weights):  # type: ignore[no-untyped-def]
    """Call PyTorch's GRU with its weights as arguments."""
    outputs, h = torch.gru(x, h0[None], weights, True, 1, 0.0, True, False, False)
    return outputs, h[0]


def rotated(x, positions):  # type: ignore[no-untyped-def]
    """Rotate pairs as programs in PyTorch do."""
    half = x.shape[-1] // 2
    angles = positions[:, None] * 10000.0 ** (-torch.arange(half) / half)
    cos, sin = angles.cos().repeat(1, 2).to(x.dtype), angles.sin().repeat(1, 2).to(x.dtype)
    return x * cos + torch.cat([-x[..., half:], x[..., :half]], dim=-1) * sin


def entrywise(function: Callable[..., Any], **options: Any) -> Problem:
    """Return the problem of an activation."""
    return Problem({"x": UNITS}, lambda x: function(x, **options), options)


def shaped(name: str, shape: tuple[int, ...], draw: Callable[..., Any]) -> Callable[[np.random.Generator], Any]:
    """Return what draws one other input."""
    return lambda rng: {name: draw(rng, shape)}


MAPS = {"x": IMAGES, "weight": CHANNEL, "bias": CHANNEL}
POOL = {"kernel_size": 2}
PROBLEMS = {
    "linear": Problem(
        {"x": (1000, 784), "weight": (784, 1000), "bias": (1000,)}, lambda x, weight, bias: x @ weight + bias
    ),
    "relu": entrywise(torch.relu),
    "sigmoid": entrywise(torch.sigmoid),
    "tanh": entrywise(torch.tanh),
    "softplus": entrywise(functional.softplus),
    "silu": entrywise(functional.silu),
    "gelu": entrywise(functional.gelu, approximate="tanh"),
    "leaky_relu": entrywise(functional.leaky_relu),
    "softmax": Problem({"logits": LOGITS}, lambda logits: functional.softmax(logits, -1)),
    "log_softmax": Problem({"x": LOGITS}, lambda x: functional.log_softmax(x, -1)),
    "cross_entropy": Problem(
        {"logits": LOGITS},
        functional.cross_entropy,
        others=shaped("targets", LOGITS[:1], lambda rng, shape: rng.integers(0, LOGITS[1], shape)),
    ),
    "mse_loss": Problem(
        {"x": UNITS}, functional.mse_loss, others=shaped("targets", UNITS, lambda rng, s: rng.random(s, np.float32))
    ),
    "binary_cross_entropy_with_logits": Problem(
        {"logits": UNITS},
        functional.binary_cross_entropy_with_logits,
        others=shaped("targets", UNITS, lambda rng, shape: rng.integers(0, 2, shape).astype(np.float32)),
    ),
    "batch_norm": Problem(MAPS, lambda x, weight, bias: functional.batch_norm(x, None, None, weight, bias, True)),
    "layer_norm": Problem(
        {"x": TOKENS, "weight": FEATURE, "bias": FEATURE},
        lambda x, weight, bias: functional.layer_norm(x, FEATURE, weight, bias),
    ),
    "group_norm": Problem(MAPS, lambda x, weight, bias: functional.group_norm(x, 8, weight, bias), {"groups": 8}),
    "rms_norm": Problem({"x": TOKENS, "weight": FEATURE}, lambda x, weight: functional.rms_norm(x, FEATURE, weight)),
    "batch_norm_inference": Problem(
        MAPS,
        lambda x, weight, bias, running_mean, running_var: functional.batch_norm(
            x, running_mean, running_var, weight, bias
        ),
        others=lambda rng: {key: rng.uniform(1, 2, 32).astype(np.float32) for key in ("running_mean", "running_var")},
    ),
    "conv2d": Problem(
        {"x": (32, 1, 28, 28), "weight": (32, 1, 3, 3), "bias": CHANNEL},
        lambda x, weight, bias: functional.conv2d(x, weight, bias, padding=1),
        {"padding": 1},
    ),
    "max_pool2d": Problem({"x": IMAGES}, lambda x: functional.max_pool2d(x, 2), POOL),
    "avg_pool2d": Problem({"x": IMAGES}, lambda x: functional.avg_pool2d(x, 2), POOL),
    "dropout": Problem(
        {"x": UNITS},
        lambda x, keep: x * keep / 0.5,
        {"p": 0.5},
        shaped("keep", UNITS, lambda rng, shape: rng.random(shape) < 0.5),
    ),
    "embedding": Problem(
        {"weight": (65, 128)},
        lambda weight, indices: functional.embedding(indices, weight),
        others=shaped("indices", TOKENS[:2], lambda rng, shape: rng.integers(0, 65, shape)),
    ),
    "rotary_embedding": Problem(
        {"x": HEADS}, rotated, others=lambda _: {"positions": np.arange(HEADS[2], dtype=np.int64)}
    ),
    "scaled_dot_product_attention": Problem(
        {"query": HEADS, "key": HEADS, "value": HEADS},
        lambda query, key, value: functional.scaled_dot_product_attention(query, key, value, is_causal=True),
        {"causal": True},
    ),
    "lstm": Problem(recurrent(4, "h0", "c0"), lstm),
    "gru": Problem(recurrent(3, "h0"), gru),
}
"""By the name of the layer."""
