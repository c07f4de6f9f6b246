"""The hand-derived gradients of this project, each with its reference in PyTorch: for the command and for its tests."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch.nn.functional import cross_entropy

from manual_backprop import MLP, layers
from torch_reference import ReferenceMLP


class Pair(NamedTuple):
    """What the check gets: gradients by hand, and the loss."""

    manual: Callable[..., dict[str, Any]]
    reference: Callable[..., torch.Tensor]


def _linear(x: Any, weight: Any, bias: Any, grad_output: Any) -> dict[str, Any]:
    del bias  # its gradient does not depend on it
    return dict(zip(("x", "weight", "bias"), layers.linear_backward(grad_output, x, weight), strict=True))


LINEAR = Pair(_linear, lambda x, weight, bias, grad_output: ((x @ weight + bias) * grad_output).sum())
RELU = Pair(
    lambda x, grad_output: {"x": layers.relu_backward(grad_output, x)},
    lambda x, grad_output: (torch.relu(x) * grad_output).sum(),
)
CROSS_ENTROPY = Pair(  # targets are labels or rows of probabilities
    lambda logits, targets: {"logits": layers.cross_entropy_backward(logits, targets)},
    lambda logits, targets: cross_entropy(logits, targets),
)


def network(mlp: MLP, x: Any, targets: Any) -> Pair:
    """Return the gradients of a network's parameters on one batch; pixels count as 0..255 / 255 on both sides."""
    module = ReferenceMLP.from_manual(mlp)
    rows = torch.from_numpy(x.astype(mlp.dtype) / mlp.dtype.type(255) if x.dtype == "uint8" else x)

    def manual(**parameters: Any) -> dict[str, Any]:
        return MLP(parameters).backprop(x, targets)[1]

    def reference(**tensors: torch.Tensor) -> torch.Tensor:
        transposed = {name: value.T for name, value in tensors.items()}
        data = rows.to(next(iter(tensors.values())).dtype)
        return cross_entropy(torch.func.functional_call(module, transposed, (data,)), torch.from_numpy(targets))

    return Pair(manual, reference)
