"""Convolution, relu, batch normalisation and pooling of some channels of a `CNN`, in arrays that are made once.

Pixels lie by their place in a pooling window, as in `Planes`.

Normalisation multiplies a channel by one number, its scale, and adds another. That moves no maximum to another pixel,
unless the scale is negative: such channels change their sign first. So only the maxima are ever normalised, and a
whole map has one array, which stays near: pixels, then pixels minus their mean, then their gradient.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from manual_backprop.arrays import Array
from manual_backprop.fast.planes import PLANES
from manual_backprop.networks.cnn import CNN

EPS = 1e-5  # of `batch_norm`
MOMENTUM = 0.1  # of the running statistics


class Pass(NamedTuple):
    """What a forward pass leaves for the way back; it holds until the next one."""

    planes: Array
    """(17, windows · n)"""
    active: NDArray[np.bool_]
    """(channels, 4, windows · n), where relu passed something on"""
    centred: Array
    """(channels, 4, windows · n), ± (relu's output - mean), with the sign of the channel's scale"""
    largest: Array
    """(channels, windows · n), the maximum of each window of `centred`"""
    scale: Array
    """(channels,), weight / deviation"""
    inverse_deviation: Array
    """(channels,)"""


class FeatureMaps:
    """The maps of some channels for up to `rows` images.

    Parameters
    ----------
    cnn : its parameters and buffers are read anew at every call
    channels : which of its filters
    side : height and width of an image, an even number
    rows : the most images at a time
    """

    def __init__(self, cnn: CNN, channels: slice, side: int, rows: int) -> None:
        self._parameters = {name: cnn.parameters[name][channels] for name in PARAMETERS}
        self._buffers = {name: value[channels] for name, value in cnn.buffers.items()}
        self._count = channels.stop - channels.start
        self.windows = (side // 2) ** 2

        def array(*shape: int, dtype: Any = cnn.dtype) -> NDArray[Any]:
            return np.zeros(shape, dtype)

        pixels = self._count * rows * self.windows
        self._units = array(4 * pixels)
        self._largest, self._other, self._features = (array(pixels) for _ in range(3))
        self._taken, self._hit = (array(pixels, dtype=bool) for _ in range(2))
        self._active = array(4 * pixels, dtype=bool)
        self._taps = array(self._count, 2, 2, 4, 4)
        self._kernel = array(self._count, 4, PLANES)

    def forward(self, planes: Array, training: bool) -> tuple[Array, Pass]:
        """Return the pooled maps of n images (17, windows · n) as (channels · windows, n), and what `backward` takes.

        In training the statistics are the batch's, and the running ones are moved; else they are the running ones.
        """
        n = planes.shape[1] // self.windows
        units, active = self._part(self._units, n, 4), self._part(self._active, n, 4)
        np.matmul(self._weights(), planes, out=units.reshape(-1, planes.shape[1]))
        np.maximum(units, 0, out=units)
        rows = units.reshape(self._count, -1)
        if training:
            np.greater(units, 0, out=active)
            mean = np.add.reduce(rows, axis=1) / rows.shape[1]
            rows -= mean[:, None]
            squares = np.array([row @ row for row in rows], mean.dtype)
            variance: Array = squares / rows.shape[1]
            self._move("normalization.running_mean", mean)
            self._move("normalization.running_var", squares / max(rows.shape[1] - 1, 1))
        else:
            mean, variance = (self._buffers[f"normalization.running_{kind}"] for kind in ("mean", "var"))
            rows -= mean[:, None]
        inverse_deviation = 1 / np.sqrt(variance + EPS)
        scale = self._parameters["normalization.weight"] * inverse_deviation
        rows[scale < 0] *= -1
        largest = self._pooled(units, scale)
        features = np.multiply(largest, np.abs(scale)[:, None], out=self._part(self._features, n))
        features += self._parameters["normalization.bias"][:, None]
        return features.reshape(-1, n), Pass(planes, active, units, largest, scale, inverse_deviation)

    def backward(self, kept: Pass, grad_features: Array) -> dict[str, Array]:
        """Return the gradients of this object's parameters; `grad_features` is (channels · windows, n).

        Overwrites what the pass kept.
        """
        n = grad_features.shape[1]
        grad_largest = grad_features.reshape(self._count, self.windows * n)
        grad_bias = np.add.reduce(grad_largest, axis=1)
        dots = [np.vdot(g, c) for g, c in zip(grad_largest, kept.largest, strict=True)]
        grad_weight = np.array(dots, grad_bias.dtype) * kept.inverse_deviation

        # batch_norm_backward: dL/dx = scale · (g - mean(g) - x̂ · mean(g x̂)); scale is left to the end
        pixels = kept.centred[0].size
        grad = self._to_the_largest(
            kept, grad_largest, grad_weight * kept.inverse_deviation / pixels, grad_bias / pixels
        )
        grad *= kept.active

        grad_kernel = (grad.reshape(-1, kept.planes.shape[1]) @ kept.planes.T).reshape(self._kernel.shape)
        grad_kernel *= kept.scale[:, None, None]
        grad_taps = grad_kernel[..., :-1].reshape(self._count, 2, 2, 4, 4)
        grad_convolution = sum(grad_taps[:, dy, dx, dy : dy + 3, dx : dx + 3] for dy in (0, 1) for dx in (0, 1))
        return {
            "convolution.weight": np.asarray(grad_convolution)[:, None],
            "convolution.bias": grad_kernel[..., -1].sum(axis=1),
            "normalization.weight": np.where(kept.scale < 0, -grad_weight, grad_weight),
            "normalization.bias": grad_bias,
        }

    def _weights(self) -> Array:
        """Return the weight of each plane for each channel and place in a window, (4 · channels, 17)."""
        for dy in (0, 1):
            for dx in (0, 1):
                self._taps[:, dy, dx, dy : dy + 3, dx : dx + 3] = self._parameters["convolution.weight"][:, 0]
        self._kernel[..., :-1] = self._taps.reshape(self._count, 4, -1)
        self._kernel[..., -1] = self._parameters["convolution.bias"][:, None]
        return self._kernel.reshape(-1, PLANES)

    def _pooled(self, centred: Array, scale: Array) -> Array:
        """Return the largest in each window of `centred`; the first where all are equally large once normalised."""
        n = centred.shape[2] // self.windows
        largest, other = self._part(self._largest, n), self._part(self._other, n)
        np.maximum(centred[:, 0], centred[:, 1], out=largest)
        np.maximum(centred[:, 2], centred[:, 3], out=other)
        np.maximum(largest, other, out=largest)
        largest[scale == 0] = centred[scale == 0, 0]
        return largest

    def _to_the_largest(self, kept: Pass, grad_largest: Array, slope: Array, mean: Array) -> Array:
        """Return g - slope · centred - mean, over `centred`: g goes to the first of the largest in each window."""
        n = grad_largest.shape[1] // self.windows
        taken, hit, grad = self._part(self._taken, n), self._part(self._hit, n), self._part(self._other, n)
        taken[...] = False
        for place in range(4):
            centred = kept.centred[:, place]
            np.equal(centred, kept.largest, out=hit)
            np.greater(hit, taken, out=hit)  # hit and not taken
            np.logical_or(taken, hit, out=taken)
            np.multiply(grad_largest, hit, out=grad)
            centred *= -slope[:, None]
            centred -= mean[:, None]
            centred += grad
        return kept.centred

    def _move(self, name: str, value: Array) -> None:
        running = self._buffers[name]
        running += (value - running) * running.dtype.type(MOMENTUM)

    def _part(self, array: NDArray[Any], n: int, *places: int) -> NDArray[Any]:
        """Return the contiguous beginning of an array for n images."""
        shape = (self._count, *places, self.windows * n)
        return array[: np.prod(shape)].reshape(shape)


PARAMETERS = ("convolution.weight", "convolution.bias", "normalization.weight", "normalization.bias")
"""The parameters of a channel."""
