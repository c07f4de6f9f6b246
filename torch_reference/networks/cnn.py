"""The convolutional network in PyTorch, with PyTorch's own layers and gradients."""

import math
from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import max_pool2d

Arrays = Mapping[str, NDArray[np.floating]]


class ManualCNN(Protocol):
    """What is needed of a hand-derived network; weights of linear layers are (in, out)."""

    @property
    def parameters(self) -> Arrays:
        """`convolution.weight`, `convolution.bias`, and the same of `normalization`, `hidden`, `output`."""

    @property
    def buffers(self) -> Arrays:
        """`normalization.running_mean` and `normalization.running_var`."""

    @property
    def dropout(self) -> float:
        """The probability of a hidden unit to be dropped."""


class ReferenceCNN(nn.Module):
    """Convolution, relu, batch normalisation, pooling, a hidden layer with relu and dropout; its outputs are logits.

    Parameters
    ----------
    flat : what the hidden layer reads, filters · (side // 2)²
    classes, filters, hidden : outputs of the last layer, the convolution and the hidden layer
    dropout : the probability of a hidden unit to be dropped
    """

    def __init__(
        self, flat: int = 6272, classes: int = 10, filters: int = 32, hidden: int = 784, dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(1, filters, 3, padding=1)
        self.normalization = nn.BatchNorm2d(filters)
        self.hidden = nn.Linear(flat, hidden)
        self.output = nn.Linear(hidden, classes)
        self.dropout = dropout

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """Return the logits (N, K) of images by rows (N, F).

        `keep` (N, H) says which hidden units are kept, so that the hand-derived network can drop the same ones.
        """
        side = math.isqrt(x.shape[1])
        images = torch.relu(self.convolution(x.unflatten(1, (1, side, side))))
        units = torch.relu(self.hidden(max_pool2d(self.normalization(images), 2).flatten(1)))
        if keep is not None:
            units = torch.where(keep, units / (1 - self.dropout), 0)
        return self.output(units)

    @classmethod
    def from_manual(cls, manual: ManualCNN) -> "ReferenceCNN":
        """Return a network with the weights, the running statistics and the precision of a hand-derived one."""
        weights = manual.parameters
        flat, hidden = weights["hidden.weight"].shape
        module = cls(flat, len(weights["output.bias"]), len(weights["convolution.bias"]), hidden, manual.dropout)
        state = {name: torch.from_numpy(_turned(value)) for name, value in {**weights, **manual.buffers}.items()}
        module.to(state["hidden.bias"].dtype).load_state_dict(module.state_dict() | state)
        return module

    def to_manual(self) -> dict[str, NDArray[np.floating]]:
        """Return copies of parameters and running statistics as NumPy arrays, as `CNN(state)` takes them."""
        floating = {name: value for name, value in self.state_dict().items() if value.is_floating_point()}
        return {name: _turned(value.cpu().numpy()) for name, value in floating.items()}


def _turned(value: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return a copy, the weights of linear layers, which alone have two axes, transposed."""
    return np.array(value.T if value.ndim == 2 else value, order="C")
