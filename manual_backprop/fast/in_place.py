"""`MLP.backprop` for a block of rows, written into arrays that are made once."""

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from manual_backprop.arrays import Array, Keep, Rows, to_rows
from manual_backprop.data.datasets import Images, Split
from manual_backprop.fast.cross_entropy_in_place import CrossEntropyInPlace, Softmax
from manual_backprop.networks.mlp import MLP, names
from manual_backprop.scores import Sums, count

# Rows that NumPy treats as one long row: one loop over 8 rows of 1000 takes half the time of 8 loops.
STRIP = 8
# Columns of a weight up to which its gradient lies transposed in memory; the optimizer is slower at that.
NARROW = 64


class Pass(NamedTuple):
    """What a forward pass over a block leaves for the way back."""

    inputs: list[Array]
    """What went into each layer; each is (rows, units)."""
    softmax: Softmax
    dropping: bool


class GradientArrays:
    """One array for each parameter, all of them parts of one vector, so that adding two gradients is one call.

    Attributes
    ----------
    vector : (P,), every entry of every gradient
    arrays : dict with the keys and shapes of `MLP.parameters`
    """

    def __init__(self, mlp: MLP) -> None:
        self.vector = np.empty(sum(value.size for value in mlp.parameters.values()), mlp.dtype)
        self.arrays: dict[str, Array] = {}
        start = 0
        for name, value in mlp.parameters.items():
            part = self.vector[start : start + value.size]
            # with few columns, as those of the classes, BLAS is up to twice as fast at writing the transpose of x.T @ g
            narrow = value.ndim == 2 and value.shape[1] <= NARROW < value.shape[0]
            self.arrays[name] = part.reshape(value.shape, order="F" if narrow else "C")
            start += value.size


class InPlaceBackprop:
    """Forward and backward pass over up to `rows` rows, step by step as in `MLP.backprop`.

    Every result lies in memory that belongs to this object: a `Pass` holds until the next `forward`, gradients
    until the next `backward`.

    Parameters
    ----------
    mlp : the network; its weights are read anew at every call
    rows : the most rows that a block may have
    """

    def __init__(self, mlp: MLP, rows: int) -> None:
        self._mlp = mlp
        *inputs, classes = mlp.sizes
        rows = whole_strips(rows)

        def array(*shape: int, dtype: DTypeLike = mlp.dtype) -> NDArray[Any]:
            return np.zeros(shape, dtype)

        self._pixels = array(rows, inputs[0], dtype=np.uint8)
        self._x = array(rows, inputs[0])
        self._outputs = [array(rows, size) for size in mlp.sizes[1:]]  # of each layer, after relu where there is one
        stops = np.cumsum([0, *inputs[1:]])
        self._units = [slice(*part) for part in pairwise(stops)]  # of each hidden layer, where `keep` has them
        self._bias_relu = [BiasRelu(size, mlp.dtype) for size in mlp.sizes[1:]]
        self._grad_inputs = [array(rows, size) for size in inputs[1:]]
        self._active = [array(rows, size, dtype=bool) for size in inputs[1:]]
        self._cross_entropy = CrossEntropyInPlace(rows, classes, mlp.dtype)
        self.gradients = GradientArrays(mlp)

    def forward(self, split: Split, rows: Rows, keep: Keep = None) -> tuple[Sums, Pass]:
        """Carry some rows of a set through the network; return how well it does on them, and what `backward` takes.

        Raises
        ------
        ValueError
            If a label is not a class of the network.
        """
        labels = chosen_labels(split, rows, self._mlp.sizes[-1])
        x = chosen_images(split.images, rows, self._pixels[: len(labels)], self._x[: len(labels)])
        inputs = [x]
        for i in range(self._mlp.depth):
            weight, bias = self._mlp.layer(i)
            output = self._outputs[i][: len(labels)]
            np.matmul(inputs[-1], weight, out=output)
            hidden = i < self._mlp.depth - 1
            self._bias_relu[i](self._outputs[i], len(labels), bias, relu=hidden)
            if hidden and keep is not None:
                output *= keep[:, self._units[i]]
                output /= 1 - self._mlp.dropout
            inputs.append(output)
        logits = inputs.pop()
        losses, softmax = self._cross_entropy.forward(logits, labels)
        return count(losses, logits, labels), Pass(inputs, softmax, keep is not None)

    def backward(self, kept: Pass, batch_size: int, gradients: GradientArrays) -> None:
        """Write what the rows of a pass contribute to the gradient of the mean loss over the batch."""
        grad_output = self._cross_entropy.backward(kept.softmax, batch_size)
        for i in reversed(range(self._mlp.depth)):
            x = kept.inputs[i]
            weight, bias = names(i)
            np.matmul(x.T, grad_output, out=gradients.arrays[weight])
            np.add.reduce(grad_output, axis=0, out=gradients.arrays[bias])
            if i > 0:
                grad_input, active = self._grad_inputs[i - 1][: len(x)], self._active[i - 1][: len(x)]
                np.matmul(grad_output, self._mlp.parameters[weight].T, out=grad_input)
                np.greater(x, 0, out=active)  # exactly where relu passed something on that was not dropped
                grad_input *= active
                if kept.dropping:
                    grad_input /= 1 - self._mlp.dropout
                grad_output = grad_input


class BiasRelu:
    """Bias and relu of one layer, written over its matrix product."""

    def __init__(self, units: int, dtype: DTypeLike) -> None:
        self._bias = np.zeros((STRIP, units), dtype)
        self._zero = np.zeros(STRIP * units, dtype)

    def __call__(self, outputs: Array, count: int, bias: Array, relu: bool) -> None:
        """Add the bias to the first `count` rows, whose array is contiguous and has whole strips, and apply relu."""
        self._bias[:] = bias
        strips = -(-count // STRIP)
        joined = outputs[: strips * STRIP].reshape(strips, -1)
        joined += self._bias.ravel()
        if relu:
            np.maximum(joined, self._zero, out=joined)


def whole_strips(rows: int) -> int:
    """Return `rows`, or the next larger multiple of `STRIP`."""
    return -(-rows // STRIP) * STRIP


def chosen_labels(split: Split, rows: Rows, classes: int) -> NDArray[np.integer]:
    """Return the labels of some rows.

    Raises
    ------
    ValueError
        If a label is not a class of the network.
    """
    labels = split.labels[rows]
    wrong = (labels < 0) | (labels >= classes)
    if wrong.any():
        raise ValueError(f"labels: {labels[wrong][0]} is outside 0..{classes - 1}")
    return labels


def chosen_images(images: Images, rows: Rows, pixels: NDArray[np.uint8], x: Array) -> Array:
    """Return `to_rows(images[rows])`, in `x` where there is anything to convert.

    Parameters
    ----------
    rows : none outside, as `chosen_labels` has shown
    pixels, x : (B, F), arrays to write into
    """
    if isinstance(images, np.ndarray) and images.dtype == np.uint8 and isinstance(rows, np.ndarray):
        # wrap writes straight into the array, as raise does not
        chosen: NDArray[Any] = images.take(rows, axis=0, out=pixels, mode="wrap")
    else:
        chosen = images[rows]
    return to_rows(chosen, x.dtype, out=x)
