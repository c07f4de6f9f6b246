"""``MLP.backprop`` for a block of rows, written into arrays that are made once."""

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from manual_backprop.arrays import Array
from manual_backprop.data.datasets import Images, Split
from manual_backprop.fast.cross_entropy_in_place import CrossEntropyInPlace
from manual_backprop.networks.mlp import MLP

Rows = slice | NDArray[np.integer]

# Rows that NumPy treats as one long row: one loop over 8 rows of 1000 takes half the time of 8 loops.
STRIP = 8
# Columns of a weight up to which its gradient lies transposed in memory; the optimizer is slower at that.
NARROW = 64


class BlockScore(NamedTuple):
    """Sum of the losses, number of right classifications and number of examples of a block."""

    loss: float
    correct: int
    examples: int


def sum_of(losses: Array) -> float:
    """Add up in double precision at least."""
    return float(losses.sum(dtype=np.promote_types(losses.dtype, np.float64)))


class GradientArrays:
    """One array for each parameter, all of them parts of one vector, so that adding two gradients is one call.

    Attributes
    ----------
    vector : (P,), every entry of every gradient
    arrays : dict with the keys and shapes of ``MLP.parameters``
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
    """Forward and backward pass over up to ``rows`` rows, step by step as in ``MLP.backprop``.

    Every result lies in memory that belongs to this object and holds until the next call of the same method.

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
        self._bias_relu = [BiasRelu(size, mlp.dtype) for size in mlp.sizes[1:]]
        self._grad_inputs = [array(rows, size) for size in inputs[1:]]
        self._active = [array(rows, size, dtype=bool) for size in inputs[1:]]
        self._cross_entropy = CrossEntropyInPlace(rows, classes, mlp.dtype)
        self.gradients = GradientArrays(mlp)

    def forward(self, split: Split, rows: Rows) -> BlockScore:
        """Carry some rows of a set through the network, and return how well it does on them.

        Raises
        ------
        ValueError
            If a label is no class of the network.
        """
        self._labels = chosen_labels(split, rows, self._mlp.sizes[-1])
        count = len(self._labels)
        x = chosen_images(split.images, rows, self._pixels[:count], self._x[:count])
        self._inputs = [x, *(output[:count] for output in self._outputs)]
        for i, (x, output) in enumerate(pairwise(self._inputs)):
            np.matmul(x, self._mlp.parameters[f"layers.{i}.weight"], out=output)
            bias = self._mlp.parameters[f"layers.{i}.bias"]
            self._bias_relu[i](self._outputs[i], count, bias, relu=i < self._mlp.depth - 1)
        logits = self._inputs[-1]
        losses = self._cross_entropy.losses(logits, self._labels)
        return BlockScore(sum_of(losses), int((logits.argmax(axis=1) == self._labels).sum()), count)

    def backward(self, batch_size: int, gradients: GradientArrays) -> None:
        """Write what the rows of the last ``forward`` contribute to the gradient of the mean loss over the batch."""
        count = len(self._labels)
        grad_output = self._cross_entropy.backward(batch_size)
        for i in reversed(range(self._mlp.depth)):
            x = self._inputs[i]
            np.matmul(x.T, grad_output, out=gradients.arrays[f"layers.{i}.weight"])
            np.add.reduce(grad_output, axis=0, out=gradients.arrays[f"layers.{i}.bias"])
            if i > 0:
                grad_input, active = self._grad_inputs[i - 1][:count], self._active[i - 1][:count]
                np.matmul(grad_output, self._mlp.parameters[f"layers.{i}.weight"].T, out=grad_input)
                np.greater(x, 0, out=active)  # relu(s) > 0 exactly where s > 0
                grad_input *= active
                grad_output = grad_input


class BiasRelu:
    """Bias and relu of one layer, written over its matrix product."""

    def __init__(self, units: int, dtype: DTypeLike) -> None:
        self._bias = np.zeros((STRIP, units), dtype)
        self._zero = np.zeros(STRIP * units, dtype)

    def __call__(self, outputs: Array, count: int, bias: Array, relu: bool) -> None:
        """Add the bias to the first ``count`` rows, whose array is contiguous and has whole strips, and apply relu."""
        self._bias[:] = bias
        strips = -(-count // STRIP)
        joined = outputs[: strips * STRIP].reshape(strips, -1)
        joined += self._bias.ravel()
        if relu:
            np.maximum(joined, self._zero, out=joined)


def whole_strips(rows: int) -> int:
    """Return ``rows``, or the next larger multiple of ``STRIP``."""
    return -(-rows // STRIP) * STRIP


def chosen_labels(split: Split, rows: Rows, classes: int) -> NDArray[np.integer]:
    """Return the labels of some rows.

    Raises
    ------
    ValueError
        If a label is no class of the network.
    """
    labels = split.labels[rows]
    wrong = (labels < 0) | (labels >= classes)
    if wrong.any():
        raise ValueError(f"labels: {labels[wrong][0]} is outside 0..{classes - 1}")
    return labels


def chosen_images(images: Images, rows: Rows, pixels: NDArray[np.uint8], x: Array) -> Array:
    """Return ``to_rows(images[rows])``, in ``x`` where there is anything to convert.

    Parameters
    ----------
    rows : none outside, as ``chosen_labels`` has shown
    pixels, x : (B, F), arrays to write into
    """
    if isinstance(images, np.ndarray) and images.dtype == np.uint8 and isinstance(rows, np.ndarray):
        # wrap writes straight into the array, as raise does not
        chosen: NDArray[Any] = images.take(rows, axis=0, out=pixels, mode="wrap")
    else:
        chosen = images[rows]
    if chosen.dtype == x.dtype:
        return chosen
    if chosen.dtype == np.uint8:
        return np.divide(chosen, 255, out=x, dtype=x.dtype)
    np.copyto(x, chosen, casting="unsafe")
    return x
