"""The same network in PyTorch, with PyTorch's own layers and gradients."""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


class ManualNetwork(Protocol):
    """What is needed of a hand-derived network: its parameters, weights as (in, out)."""

    @property
    def parameters(self) -> Mapping[str, NDArray[np.floating]]:
        """`layers.0.weight` (in, out), `layers.0.bias` (out,), `layers.1.weight`, ..."""

    @property
    def dropout(self) -> float:
        """The probability of a hidden unit to be dropped."""


class ReferenceMLP(nn.Module):
    """A multilayer perceptron: `Linear -> relu -> ... -> Linear`; its outputs are logits.

    Its `state_dict()` has the keys `layers.0.weight` (out, in), `layers.0.bias` (out,), `layers.1.weight`, ...

    Parameters
    ----------
    sizes : (F, H, ..., K), the units of each layer, inputs and classes included
    dropout : the probability of a hidden unit to be dropped
    """

    def __init__(self, sizes: Sequence[int], dropout: float = 0.0) -> None:
        super().__init__()
        self.hidden, self.dropout = list(sizes[1:-1]), dropout
        self.layers = nn.ModuleList(nn.Linear(fan_in, fan_out) for fan_in, fan_out in pairwise(sizes))

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """Return the logits (N, K) of rows `x` (N, F).

        `keep` (N, all hidden units) says which are kept, so that the hand-derived network can drop the same ones.
        """
        masks = [None] * len(self.hidden) if keep is None else keep.split(self.hidden, dim=1)
        for layer, mask in zip(self.layers[:-1], masks, strict=True):
            x = torch.relu(layer(x))
            if mask is not None:
                x = torch.where(mask, x / (1 - self.dropout), 0)
        return self.layers[-1](x)

    @classmethod
    def from_manual(cls, manual: ManualNetwork) -> "ReferenceMLP":
        """Return a network with the weights and the precision of a hand-derived one."""
        state = {name: torch.from_numpy(np.array(value.T, order="C")) for name, value in manual.parameters.items()}
        weights = [state[f"layers.{i}.weight"] for i in range(len(state) // 2)]
        module = cls([weights[0].shape[1], *(len(weight) for weight in weights)], manual.dropout)
        module.to(weights[0].dtype).load_state_dict(state)
        return module

    def to_manual(self) -> dict[str, NDArray[np.floating]]:
        """Return copies of the parameters as NumPy arrays, weights as (in, out), as `MLP(parameters)` takes them."""
        return {name: np.array(value.detach().cpu().numpy().T, order="C") for name, value in self.named_parameters()}
