"""The network of the assignment, of any depth: linear layers with relu between them."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from manual_backprop.arrays import Array, Targets, to_rows
from manual_backprop.layers import (
    cross_entropy,
    cross_entropy_backward,
    linear,
    linear_backward,
    relu,
    relu_backward,
)
from manual_backprop.networks.chain import Layer, backward, forward, output


class MLP:
    """A multilayer perceptron: ``linear -> relu -> ... -> linear``; its outputs are logits.

    Parameters
    ----------
    parameters : mapping
        ``layers.0.weight`` (in, out), ``layers.0.bias`` (out,), ``layers.1.weight``, ...; kept, not copied, so that an
        optimizer that holds the same arrays can train them in place.

    Raises
    ------
    ValueError
        If a layer lacks its weight or bias, or shapes do not fit together.
    """

    def __init__(self, parameters: Mapping[str, Array]) -> None:
        self.parameters = dict(parameters)
        self.depth = len(self.parameters) // 2
        expected = [f"layers.{i}.{kind}" for i in range(self.depth) for kind in ("weight", "bias")]
        if not expected or sorted(expected) != sorted(self.parameters):
            raise ValueError(f"parameters: expected layers.0.weight, layers.0.bias, ..., got {', '.join(parameters)}")
        for i in range(self.depth):
            weight, bias = self._layer(i)
            if weight.ndim != 2 or bias.shape != weight.shape[1:]:
                raise ValueError(f"layers.{i}: weight {weight.shape} and bias {bias.shape} do not fit together")
            if i > 0 and len(weight) != len(self._layer(i - 1)[1]):
                units = len(self._layer(i - 1)[1])
                raise ValueError(f"layers.{i}.weight: takes {len(weight)} inputs, but layer {i - 1} has {units}")

    @classmethod
    def xavier(cls, sizes: Sequence[int], seed: int = 0, dtype: DTypeLike = np.float32) -> "MLP":
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
            parameters[f"layers.{i}.weight"] = weight.astype(dtype)
            parameters[f"layers.{i}.bias"] = np.zeros(fan_out, dtype)
        return cls(parameters)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The units of each layer: (F, H, ..., K)."""
        weights = [self._layer(i)[0] for i in range(self.depth)]
        return (len(weights[0]), *(weight.shape[1] for weight in weights))

    @property
    def dtype(self) -> np.dtype[np.floating]:
        """The precision of the weights, in which the network computes."""
        return self.parameters["layers.0.weight"].dtype

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
            If ``x`` has another shape.
        """
        return output(self._layers(), self.parameters, self._rows(x))

    def backprop(self, x: ArrayLike, targets: Targets) -> tuple[float, dict[str, Array]]:
        """Return the mean loss over the batch and its gradient for every parameter (assignment 1.2, ``backprop``).

        The forward pass keeps what went into each layer. The backward pass visits the layers in reverse and hands each
        one the gradient of its output. docs/derivation.md derives every line.

        Parameters
        ----------
        x : (N, F), as in ``__call__``
        targets : integer labels (N,) or rows of probabilities (N, K)

        Returns
        -------
        loss : float
        gradients : dict with the keys and shapes of ``parameters``

        Raises
        ------
        ValueError
            If ``x`` or ``targets`` has a shape or a label that the network cannot take.
        """
        layers = self._layers()
        values = forward(layers, self.parameters, self._rows(x))
        loss = cross_entropy(values[-1], targets)
        gradients = backward(layers, self.parameters, values, cross_entropy_backward(values[-1], targets))
        return float(loss), gradients

    def _layers(self) -> list[Layer]:
        layers = [Layer(linear, linear_backward, "layers.0")]
        for i in range(1, self.depth):
            layers += [Layer(relu, relu_backward), Layer(linear, linear_backward, f"layers.{i}")]
        return layers

    def _layer(self, i: int) -> tuple[Array, Array]:
        return self.parameters[f"layers.{i}.weight"], self.parameters[f"layers.{i}.bias"]

    def _rows(self, x: ArrayLike) -> Array:
        rows = to_rows(x, self.dtype)
        if rows.ndim != 2 or rows.shape[1] != self.sizes[0]:
            raise ValueError(f"x: expected (N, {self.sizes[0]}), got {rows.shape}")
        return rows
