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

    ``values`` returns inputs that no normal number would do for, such as tied ones; ``constants`` names floating inputs
    that have no gradient. A loss takes no upstream gradient.
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
    "gelu": Case({"x": ROWS}, lambda x: functional.gelu(x)),
    "group_norm": Case(
        {"x": (2, 4, 3), "weight": (4,), "bias": (4,)},
        lambda x, weight, bias: functional.group_norm(x, 2, weight, bias),
        {"groups": 2},
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
    "sigmoid": Case({"x": ROWS}, lambda x: torch.sigmoid(x)),
    "silu": Case({"x": ROWS}, lambda x: functional.silu(x)),
    "softmax": Case({"logits": ROWS}, lambda logits: functional.softmax(logits, -1)),
    "softplus": Case({"x": ROWS}, lambda x: functional.softplus(x)),
    "tanh": Case({"x": ROWS}, lambda x: torch.tanh(x)),
}
