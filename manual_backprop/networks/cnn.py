"""The convolutional network of the assignment's second half."""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from manual_backprop.arrays import Array, Targets, to_rows
from manual_backprop.layers import (
    batch_norm,
    batch_norm_backward,
    batch_norm_inference,
    conv2d,
    conv2d_backward,
    cross_entropy_backward,
    dropout,
    dropout_backward,
    linear,
    linear_backward,
    max_pool2d,
    max_pool2d_backward,
    relu,
    relu_backward,
)
from manual_backprop.networks.chain import Layer, backward, flatten, flatten_backward, forward, output
from manual_backprop.networks.network import Classifier

NORMALIZED = 2
"""Which layer batch normalisation is: what goes into it has the statistics that prediction needs."""


class CNN(Classifier):
    """Convolution, relu, batch normalisation, pooling, a hidden layer with relu and dropout; its outputs are logits.

    The convolution is 3x3 with stride 1 and padding 1, the pooling takes the maximum of 2x2 pixels.

    Training normalises with the statistics of the batch. Prediction has none and takes running ones, which every
    `backprop` moves by a tenth towards those of its batch, as PyTorch's layer does while it trains.

    Parameters
    ----------
    state : mapping
        The parameters: `convolution.weight` (O, 1, 3, 3), `convolution.bias` (O,), `normalization.weight` and
        `.bias` (O,), `hidden.weight` (in, H), `hidden.bias` (H,), `output.weight` (H, K), `output.bias` (K,),
        where in is O · (side // 2)² for images of side · side pixels. Then both buffers, or neither for 0 and 1:
        `normalization.running_mean` and `normalization.running_var` (O,). All are kept, not copied, so that an
        optimizer that holds the same arrays can train them in place.
    dropout : the probability of a hidden unit to be dropped, where `backprop` is given units to keep

    Attributes
    ----------
    parameters, buffers : dict; a saved network needs both

    Raises
    ------
    ValueError
        If a parameter or buffer is missing, or shapes do not fit together.
    """

    prediction_rows = 64  # one row is 32 feature maps

    def __init__(self, state: Mapping[str, Array], dropout: float = 0.0) -> None:
        self.parameters = {name: value for name, value in state.items() if ".running_" not in name}
        _check_shapes(self.parameters)
        self.buffers = {name: value for name, value in state.items() if ".running_" in name}
        bias = self.parameters["convolution.bias"]
        running = {"normalization.running_mean": np.zeros_like(bias), "normalization.running_var": np.ones_like(bias)}
        self.buffers = self.buffers or running
        if self.buffers.keys() != running.keys() or any(value.shape != bias.shape for value in self.buffers.values()):
            raise ValueError(f"buffers: expected {' and '.join(running)}, each {bias.shape}")
        self.dropout = dropout

    @classmethod
    def xavier(
        cls,
        seed: int = 0,
        dtype: DTypeLike = np.float32,
        *,
        features: int = 784,
        classes: int = 10,
        filters: int = 32,
        hidden: int = 784,
        dropout: float = 0.0,
    ) -> "CNN":
        """Draw weights from a Gaussian of mean 0 and variance 2 / (in + out); biases are 0, batch_norm's weights 1.

        An output of a convolution reads, and an input feeds, one number for each pixel of the kernel and channel.

        Parameters
        ----------
        seed : the same seed draws the same weights, up to rounding in every dtype
        features : pixels of an image, a square number

        Raises
        ------
        ValueError
            If features is not the square of 2 or more.
        """
        flat = filters * (_side(features) // 2) ** 2
        rng = np.random.default_rng(seed)

        def draw(fan_in: int, fan_out: int, shape: tuple[int, ...]) -> Array:
            return rng.normal(0, math.sqrt(2 / (fan_in + fan_out)), shape).astype(dtype)

        parameters = {
            "convolution.weight": draw(9, 9 * filters, (filters, 1, 3, 3)),
            "convolution.bias": np.zeros(filters, dtype),
            "normalization.weight": np.ones(filters, dtype),
            "normalization.bias": np.zeros(filters, dtype),
            "hidden.weight": draw(flat, hidden, (flat, hidden)),
            "hidden.bias": np.zeros(hidden, dtype),
            "output.weight": draw(hidden, classes, (hidden, classes)),
            "output.bias": np.zeros(classes, dtype),
        }
        return cls(parameters, dropout=dropout)

    @staticmethod
    def is_linear(name: str) -> bool:
        """Return whether this parameter is the weight of a fully connected layer."""
        return name in ("hidden.weight", "output.weight")

    @property
    def dtype(self) -> np.dtype[np.floating]:
        """The precision of the weights, in which the network computes."""
        return self.parameters["convolution.weight"].dtype

    def __call__(self, x: ArrayLike) -> Array:
        """Return the logits, normalised with the running statistics and without dropout: PyTorch's `eval()`.

        Parameters
        ----------
        x : (N, F), images by rows: numbers, or uint8 pixels, which count as 0..255 / 255

        Returns
        -------
        (N, K)

        Raises
        ------
        ValueError
            If `x` has another shape.
        """
        layers = self._layers(None)
        layers[NORMALIZED] = Layer(self._normalize_by_running, batch_norm_backward, "normalization")
        return output(layers, self.parameters, self._images(x))

    def logits_and_gradients(
        self, x: ArrayLike, targets: Targets, keep: NDArray[np.bool_] | None = None
    ) -> tuple[Array, dict[str, Array]]:
        """Return the logits and the gradients, which depend on arguments and parameters alone; move the statistics.

        This is what PyTorch does in its `train()` mode.
        """
        layers = self._layers(keep)
        values = forward(layers, self.parameters, self._images(x))
        gradients = backward(layers, self.parameters, values, cross_entropy_backward(values[-1], targets))
        self._move_running_statistics(values[NORMALIZED])
        return values[-1], gradients

    def draw_keep(self, count: int, rng: np.random.Generator) -> NDArray[np.bool_] | None:
        """Draw which hidden units of `count` examples are kept; None without dropout.

        The same generator draws the same, whatever the precision, so that both sides can drop the same units.
        """
        if self.dropout == 0:
            return None
        return rng.random((count, len(self.parameters["hidden.bias"]))) >= self.dropout

    def _layers(self, keep: NDArray[np.bool_] | None) -> list[Layer]:
        dropped = [] if keep is None else [Layer(dropout, dropout_backward, "", {"keep": keep, "p": self.dropout})]
        return [
            Layer(conv2d, conv2d_backward, "convolution", {"padding": 1}),
            Layer(relu, relu_backward),
            Layer(batch_norm, batch_norm_backward, "normalization"),
            Layer(max_pool2d, max_pool2d_backward, "", {"kernel_size": 2}),
            Layer(flatten, flatten_backward),
            Layer(linear, linear_backward, "hidden"),
            Layer(relu, relu_backward),
            *dropped,
            Layer(linear, linear_backward, "output"),
        ]

    def _normalize_by_running(self, x: Array, weight: Array, bias: Array) -> Array:
        mean, variance = self.buffers["normalization.running_mean"], self.buffers["normalization.running_var"]
        return batch_norm_inference(x, mean, variance, weight, bias)

    def _move_running_statistics(self, x: Array) -> None:
        """Move mean and variance by a tenth towards the batch's; the variance is the unbiased one, as in PyTorch."""
        count = x.size // x.shape[1]
        mean = x.mean(axis=(0, 2, 3))
        variance = ((x - mean[:, np.newaxis, np.newaxis]) ** 2).sum(axis=(0, 2, 3)) / max(count - 1, 1)
        for name, value in {"running_mean": mean, "running_var": variance}.items():
            running = self.buffers[f"normalization.{name}"]
            running += (value - running) * running.dtype.type(0.1)

    def _images(self, x: ArrayLike) -> Array:
        rows = to_rows(x, self.dtype)
        flat, filters = len(self.parameters["hidden.weight"]), len(self.parameters["convolution.bias"])
        if rows.ndim != 2 or filters * (_side(rows.shape[1]) // 2) ** 2 != flat:
            side = 2 * math.isqrt(flat // filters)
            raise ValueError(f"x: expected images by rows, (N, {side * side}), got {rows.shape}")
        side = _side(rows.shape[1])
        return rows.reshape(len(rows), 1, side, side)


def _side(features: int) -> int:
    side = math.isqrt(features)
    if side * side != features or side < 2:
        raise ValueError(f"features: expected a square of 2 or more, as images have, got {features}")
    return side


def _check_shapes(parameters: Mapping[str, Array]) -> None:
    names = [
        f"{layer}.{kind}"
        for layer in ("convolution", "normalization", "hidden", "output")
        for kind in ("weight", "bias")
    ]
    if sorted(parameters) != sorted(names):
        raise ValueError(f"parameters: expected {', '.join(names)}, got {', '.join(parameters)}")
    filters, units, classes = (len(parameters[f"{layer}.bias"]) for layer in ("convolution", "hidden", "output"))
    flat = len(parameters["hidden.weight"])
    shapes = [
        (filters, 1, 3, 3),
        (filters,),
        (filters,),
        (filters,),
        (flat, units),
        (units,),
        (units, classes),
        (classes,),
    ]
    for name, shape in zip(names, shapes, strict=True):
        if parameters[name].shape != shape:
            raise ValueError(f"{name}: expected {shape}, got {parameters[name].shape}")
    if flat % filters or math.isqrt(flat // filters) ** 2 != flat // filters:
        raise ValueError(f"hidden.weight: takes {flat} inputs, which are not {filters} square images")
