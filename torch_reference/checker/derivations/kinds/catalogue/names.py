"""What operations are called, what they have in common, and what may stand in their place."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from torch_reference.checker.tape.replay import Local

SOFTMAX = frozenset({"_softmax", "_safe_softmax", "_log_softmax"})
HINGES = frozenset({"relu", "leaky_relu", "clamp", "clamp_min", "elu", "celu", "threshold", "hardtanh"})
ELEMENTWISE = HINGES | frozenset(
    "tanh sigmoid softplus exp log log1p expm1 sqrt rsqrt reciprocal abs sin cos erf special_ndtr pow square sgn "
    "hardswish hardsigmoid log_sigmoid_forward silu gelu".split()
)
# Those whose derivative is what people forget; of others it is rather the way through them.
DERIVED = (
    HINGES
    | SOFTMAX
    | {"tanh", "sigmoid", "softplus", "embedding", "index", "max_pool2d_with_indices", "binary_cross_entropy"}
)
LARGEST = frozenset({"amax", "amin", "max", "min"})
RIVALS = frozenset({"maximum", "minimum", "fmax", "fmin"})


# Forms that derivatives have, as functions of an operation's result or input.
FORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "{} * (1 - {})": lambda x: x * (1 - x),
    "1 - {}**2": lambda x: 1 - x * x,
    "1 + {}**2": lambda x: 1 + x * x,
    "1 - {}": lambda x: 1 - x,
    "1 + {}": lambda x: 1 + x,
    "{}**2": lambda x: x * x,
    "1 / {}": lambda x: 1 / x,
    "1 / {}**2": lambda x: 1 / (x * x),
    "sign({})": torch.sign,
    "exp({})": torch.exp,
}

# Other functions that may stand in the place of an activation, or whose derivative may.
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softplus": functional.softplus,
    "silu": functional.silu,
    "gelu": functional.gelu,
    "gelu with the tanh approximation": lambda x: functional.gelu(x, approximate="tanh"),
    "gelu with the sigmoid approximation": lambda x: x * torch.sigmoid(1.702 * x),
    "exp": torch.exp,
    "abs": torch.abs,
    "the square": torch.square,
}


def dim(local: Local) -> int:
    """Return the axis of an operation that has one, as its second argument."""
    axis = local.step.arguments(local.values)[1]
    return int(axis[0] if isinstance(axis, list) else axis) % local.operands[0].dim()
