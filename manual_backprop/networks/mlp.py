"""The network of the assignment, of any depth: linear layers with relu between them."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from manual_backprop.arrays import Array, Targets, to_rows
from manual_backprop.layers import (
    cross_entropy_backward,
    dropout,
    dropout_backward,
    linear,
    linear_backward,
    relu,
    relu_backward,
)
from manual_backprop.networks.chain import Layer, backward, forward, output
from manual_backprop.networks.network import Classifier

PREFIX = "layers"


def names(i: int) -> tuple[str, str]:
    """Return the names of the weight and the bias of layer `i`."""
    return f"{PREFIX}.{i}.weight", f"{PREFIX}.{i}.bias"


class MLP(Classifier):
    """A multilayer perceptron: `linear -> relu -> ... -> linear`; its outputs are logits.

    Parameters
    ----------
    parameters : mapping
        `layers.0.weight` (in, out), `layers.0.bias` (out,), `layers.1.weight`, ...; kept, not copied, so that an
        optimizer that holds the same arrays can train them in place.
    dropout : the probability of a hidden unit to be dropped, where `backprop` is given units to keep

    Raises
    ------
    ValueError
        If a layer lacks its weight or bias, or shapes do not fit together.
    """

    def __init__(self, parameters: Mapping[str, Array], dropout: float = 0.0) -> None:
        self.dropout = dropout
        self.parameters, self.buffers = dict(parameters), {}
        self.depth = len(self.parameters) // 2
        expected = [name for i in range(self.depth) for name in names(i)]
        if not expected or sorted(expected) != sorted(self.parameters):
            raise ValueError(f"parameters: expected layers.0.weight, layers.0.bias, ..., got {', '.join(parameters)}")
        for i in range(self.depth):
            weight, bias = self.layer(i)
            if weight.ndim != 2 or bias.shape != weight.shape[1:]:
                raise ValueError(f"layers.{i}: weight {weight.shape} and bias {bias.shape} do not fit together")
            if i > 0 and len(weight) != len(self.layer(i - 1)[1]):
                units = len(self.layer(i - 1)[1])
                raise ValueError(f"layers.{i}.weight: takes {len(weight)} inputs, but layer {i - 1} has {units}")

    @classmethod
    def xavier(cls, sizes: Sequence[int], seed: int = 0, dtype: DTypeLike = np.float32, dropout: float = 0.0) -> "MLP":
        """Draw weights from a Gaussian of mean 0 and variance 2 / (in + out); set biases to 0 (assignment 1.3).

        Parameters
        ----------
        sizes : (F, H, ..., K), the units of each layer, inputs and classes included
        seed : the same seed draws the same weights, up to rounding in every dtype

        Raises
        ------
        ValueError
            If there are fewer than two sizes or one is not positive.

        Source: X. Glorot and Y. Bengio, Understanding the difficulty of training deep feedforward networks, 2010.
        """
        if len(sizes) < 2 or min(sizes) < 1:
            raise ValueError(f"sizes: expected two or more positive numbers, got {tuple(sizes)}")
        rng = np.random.default_rng(seed)
        parameters: dict[str, Array] = {}
        for i, (fan_in, fan_out) in enumerate(pairwise(sizes)):
            weight = rng.normal(0, np.sqrt(2 / (fan_in + fan_out)), (fan_in, fan_out))
            parameters |= dict(zip(names(i), (weight.astype(dtype), np.zeros(fan_out, dtype)), strict=True))
        return cls(parameters, dropout)

    @staticmethod
    def is_linear(name: str) -> bool:
        """Return whether this parameter is a weight."""
        return name.endswith(".weight")

    @property
    def sizes(self) -> tuple[int, ...]:
        """The units of each layer: (F, H, ..., K)."""
        weights = [self.layer(i)[0] for i in range(self.depth)]
        return (len(weights[0]), *(weight.shape[1] for weight in weights))

    @property
    def dtype(self) -> np.dtype[np.floating]:
        """The precision of the weights, in which the network computes."""
        return self.layer(0)[0].dtype

    def __call__(self, x: ArrayLike) -> Array:
        """Return the logits.

        Parameters
        ----------
        x : (N, F), numbers, or uint8 pixels, which count as 0..255 / 255

        Returns
        -------
        (N, K)

        Raises
        ------
        ValueError
            If `x` has another shape.
        """
        return output(self._layers(None), self.parameters, self._rows(x))

    def logits_and_gradients(
        self, x: ArrayLike, targets: Targets, keep: NDArray[np.bool_] | None = None
    ) -> tuple[Array, dict[str, Array]]:
        """Return the logits, and the gradient of the mean loss for every parameter.

        The forward pass keeps what went into each layer. The backward pass visits the layers in reverse and hands each
        one the gradient of its output. docs/derivations/mlp.md derives every line.
        """
        layers = self._layers(keep)
        values = forward(layers, self.parameters, self._rows(x))
        return values[-1], backward(layers, self.parameters, values, cross_entropy_backward(values[-1], targets))

    def draw_keep(self, count: int, rng: np.random.Generator) -> NDArray[np.bool_] | None:
        """Draw which hidden units of `count` examples are kept, those of all hidden layers side by side."""
        return None if self.dropout == 0 else rng.random((count, sum(self.sizes[1:-1]))) >= self.dropout

    def _layers(self, keep: NDArray[np.bool_] | None) -> list[Layer]:
        layers = [Layer(linear, linear_backward, f"{PREFIX}.0")]
        units = np.cumsum(self.sizes)
        for i in range(1, self.depth):
            layers.append(Layer(relu, relu_backward))
            if keep is not None:
                kept = keep[:, units[i - 1] - units[0] : units[i] - units[0]]
                layers.append(Layer(dropout, dropout_backward, "", {"keep": kept, "p": self.dropout}))
            layers.append(Layer(linear, linear_backward, f"{PREFIX}.{i}"))
        return layers

    def layer(self, i: int) -> tuple[Array, Array]:
        """Return weight and bias of a layer."""
        weight, bias = names(i)
        return self.parameters[weight], self.parameters[bias]

    def _rows(self, x: ArrayLike) -> Array:
        rows = to_rows(x, self.dtype)
        if rows.ndim != 2 or rows.shape[1] != self.sizes[0]:
            raise ValueError(f"x: expected (N, {self.sizes[0]}), got {rows.shape}")
        return rows
