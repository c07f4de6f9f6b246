"""One small case of each layer, with PyTorch's function: what the tests of all layers, and of the pages, run."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

try:
    import torch
    from torch.nn import functional
except ImportError:  # the shapes can be read without PyTorch
    pass

IMAGES, ROWS, CHANNEL = (2, 3, 5, 4), (3, 4, 3), (3,)


@dataclass(frozen=True)
class Case:
    """A layer's floating inputs by shape, what else it takes, and PyTorch's function of all of them by name.

    `values` returns inputs that no normal number would do for, such as tied ones; `constants` names floating inputs
    that have no gradient. A loss takes no upstream gradient; a layer of several outputs takes one for each.
    """

    shapes: Mapping[str, tuple[int, ...]]
    reference: Callable[..., Any]
    options: Mapping[str, Any] = field(default_factory=dict)
    values: Callable[[np.random.Generator], Mapping[str, Any]] = lambda rng: {}
    constants: tuple[str, ...] = ()
    is_loss: bool = False

    def inputs(self, rng: np.random.Generator, dtype: Any) -> dict[str, Any]:
        """Draw the inputs."""
        drawn = {name: rng.normal(size=shape).astype(dtype) for name, shape in self.shapes.items()}
        for name, value in self.values(rng).items():
            drawn[name] = value.astype(dtype) if value.dtype.kind == "f" else value
        return drawn


def running(rng):
    return {"running_mean": rng.normal(size=3), "running_var": rng.uniform(0.5, 2, 3)}


def batch_norm_inference(x, running_mean, running_var, weight, bias):
    return functional.batch_norm(x, running_mean, running_var, weight, bias)


def rotary_embedding(x, positions):
    """Rotate pairs as complex numbers, for base 50."""
    first, second = x.chunk(2, dim=-1)
    angles = positions[:, None] * 50.0 ** (-torch.arange(2, dtype=torch.float64) / 2)
    turned = torch.complex(first, second) * torch.polar(torch.ones_like(angles), angles).to(torch.complex(x, x).dtype)
    return torch.cat([turned.real, turned.imag], dim=-1)


def lstm(x, h0, c0, weight_ih, weight_hh, bias_ih, bias_hh):
    weights = [weight_ih, weight_hh, bias_ih, bias_hh]
    outputs, h, c = torch.lstm(x, (h0[None], c0[None]), weights, True, 1, 0.0, True, False, False)
    return outputs, h[0], c[0]


def gru(x, h0, weight_ih, weight_hh, bias_ih, bias_hh):
    outputs, h = torch.gru(x, h0[None], [weight_ih, weight_hh, bias_ih, bias_hh], True, 1, 0.0, True, False, False)
    return outputs, h[0]


CASES = {
    "avg_pool2d": Case(
        {"x": IMAGES}, lambda x: functional.avg_pool2d(x, 2, 1, 1), {"kernel_size": 2, "stride": 1, "padding": 1}
    ),
    "batch_norm": Case(
        {"x": IMAGES, "weight": CHANNEL, "bias": CHANNEL},
        lambda x, weight, bias: functional.batch_norm(x, None, None, weight, bias, training=True),
    ),
    "batch_norm_inference": Case(
        {"x": IMAGES, "running_mean": CHANNEL, "running_var": CHANNEL, "weight": CHANNEL, "bias": CHANNEL},
        batch_norm_inference,
        values=running,
        constants=("running_mean", "running_var"),
    ),
    "binary_cross_entropy_with_logits": Case(
        {"logits": ROWS},
        lambda logits, targets: functional.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype)),
        values=lambda rng: {"targets": rng.integers(0, 2, ROWS)},
        is_loss=True,
    ),
    "conv2d": Case(
        {"x": IMAGES, "weight": (2, 3, 3, 2), "bias": (2,)},
        lambda x, weight, bias: functional.conv2d(x, weight, bias, (2, 1), 1),
        {"stride": (2, 1), "padding": 1},
    ),
    "cross_entropy": Case(
        {"logits": (6, 4)},
        lambda logits, targets: functional.cross_entropy(logits, targets),
        values=lambda rng: {"targets": rng.integers(0, 4, 6)},
        is_loss=True,
    ),
    "dropout": Case(
        {"x": ROWS},
        lambda x, keep: torch.where(keep, x / 0.7, 0),
        {"p": 0.3},
        values=lambda rng: {"keep": rng.random(ROWS) >= 0.3},
    ),
    "embedding": Case(
        {"weight": (5, 3)},
        lambda indices, weight: functional.embedding(indices, weight),
        values=lambda rng: {"indices": np.array([[1, 3, 3], [0, 1, 3]])},
    ),
    "gelu": Case({"x": ROWS}, lambda x: functional.gelu(x)),
    "group_norm": Case(
        {"x": (2, 4, 3), "weight": (4,), "bias": (4,)},
        lambda x, weight, bias: functional.group_norm(x, 2, weight, bias),
        {"groups": 2},
    ),
    "gru": Case(
        {"x": (4, 2, 3), "h0": (2, 3), "weight_ih": (9, 3), "weight_hh": (9, 3), "bias_ih": (9,), "bias_hh": (9,)}, gru
    ),
    "layer_norm": Case(
        {"x": ROWS, "weight": CHANNEL, "bias": CHANNEL},
        lambda x, weight, bias: functional.layer_norm(x, (3,), weight, bias),
    ),
    "leaky_relu": Case({"x": ROWS}, lambda x: functional.leaky_relu(x)),
    "linear": Case(
        {"x": (5, 3), "weight": (3, 2), "bias": (2,)}, lambda x, weight, bias: functional.linear(x, weight.T, bias)
    ),
    "log_softmax": Case({"x": ROWS}, lambda x: functional.log_softmax(x, -1)),
    "lstm": Case(
        {
            "x": (4, 2, 3),
            "h0": (2, 3),
            "c0": (2, 3),
            "weight_ih": (12, 3),
            "weight_hh": (12, 3),
            "bias_ih": (12,),
            "bias_hh": (12,),
        },
        lstm,
    ),
    "max_pool2d": Case(
        {"x": IMAGES},
        lambda x: functional.max_pool2d(x, 2, 1, 1),
        {"kernel_size": 2, "stride": 1, "padding": 1},
        # three values only, so that maxima tie and windows share them
        values=lambda rng: {"x": rng.integers(-1, 2, IMAGES) * 1.0},
    ),
    "mse_loss": Case(
        {"x": ROWS, "targets": ROWS},
        lambda x, targets: functional.mse_loss(x, targets),
        constants=("targets",),
        is_loss=True,
    ),
    "relu": Case({"x": ROWS}, lambda x: torch.relu(x)),
    "rms_norm": Case({"x": ROWS, "weight": CHANNEL}, lambda x, weight: functional.rms_norm(x, (3,), weight, 1e-6)),
    "rotary_embedding": Case(
        {"x": (2, 3, 4)}, rotary_embedding, {"base": 50.0}, values=lambda rng: {"positions": np.array([1, 5, 40])}
    ),
    "scaled_dot_product_attention": Case(
        {"query": (2, 4, 3, 3), "key": (2, 2, 3, 3), "value": (2, 2, 3, 2)},
        lambda query, key, value: functional.scaled_dot_product_attention(
            query, key, value, is_causal=True, enable_gqa=True
        ),
        {"causal": True},
    ),
    "sigmoid": Case({"x": ROWS}, lambda x: torch.sigmoid(x)),
    "silu": Case({"x": ROWS}, lambda x: functional.silu(x)),
    "softmax": Case({"logits": ROWS}, lambda logits: functional.softmax(logits, -1)),
    "softplus": Case({"x": ROWS}, lambda x: functional.softplus(x)),
    "tanh": Case({"x": ROWS}, lambda x: torch.tanh(x)),
}
