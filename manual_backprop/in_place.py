"""``MLP.backprop`` for a block of rows, written into arrays that are made once."""

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import DTypeLike, NDArray

from manual_backprop.datasets import Images, Split
from manual_backprop.layers import Array
from manual_backprop.network import MLP

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
        rows = -(-rows // STRIP) * STRIP  # whole strips

        def array(*shape: int, dtype: DTypeLike = mlp.dtype) -> NDArray[Any]:
            return np.zeros(shape, dtype)

        self._pixels = array(rows, inputs[0], dtype=np.uint8)
        self._x = array(rows, inputs[0])
        self._outputs = [array(rows, size) for size in mlp.sizes[1:]]  # of each layer, after relu where there is one
        self._bias_strips = [array(STRIP, size) for size in mlp.sizes[1:]]
        self._zero_strips = [array(STRIP, size) for size in inputs[1:]]
        self._grad_inputs = [array(rows, size) for size in inputs[1:]]
        self._active = [array(rows, size, dtype=bool) for size in inputs[1:]]
        # a column for each row of the block: few long rows are faster than many short ones
        self._shifted = array(classes, rows)
        self._probabilities = array(classes, rows)
        self._row_maximum = array(rows)
        self._normalizer = array(rows)
        self._columns = np.arange(rows)
        self._lowest = np.finfo(mlp.dtype).min
        self.gradients = GradientArrays(mlp)

    def forward(self, split: Split, rows: Rows) -> BlockScore:
        """Carry some rows of a set through the network, and return how well it does on them.

        Raises
        ------
        ValueError
            If a label is no class of the network.
        """
        self._labels = split.labels[rows]
        wrong = (self._labels < 0) | (self._labels >= len(self._shifted))
        if wrong.any():
            raise ValueError(f"labels: {self._labels[wrong][0]} is outside 0..{len(self._shifted) - 1}")
        count = len(self._labels)
        self._inputs = [self._rows(split.images, rows, count), *(output[:count] for output in self._outputs)]
        for i, (x, output) in enumerate(pairwise(self._inputs)):
            np.matmul(x, self._mlp.parameters[f"layers.{i}.weight"], out=output)
            self._bias_strips[i][:] = self._mlp.parameters[f"layers.{i}.bias"]
            strips = _strips(self._outputs[i], count)
            strips += self._bias_strips[i].ravel()
            if i < self._mlp.depth - 1:
                np.maximum(strips, self._zero_strips[i].ravel(), out=strips)
        logits = self._inputs[-1]
        correct = int((logits.argmax(axis=1) == self._labels).sum())
        return BlockScore(self._cross_entropy(logits), correct, count)

    def backward(self, batch_size: int, gradients: GradientArrays) -> None:
        """Write what the rows of the last ``forward`` contribute to the gradient of the mean loss over the batch."""
        count = len(self._labels)
        grad_output = self._cross_entropy_backward(batch_size)
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

    def _rows(self, images: Images, rows: Rows, count: int) -> Array:
        """Return ``to_rows(images[rows])``."""
        if isinstance(images, np.ndarray) and images.dtype == np.uint8 and isinstance(rows, np.ndarray):
            # wrap writes straight into the array, as raise does not; the labels have shown that no row is outside
            pixels = images.take(rows, axis=0, out=self._pixels[:count], mode="wrap")
        else:
            pixels = images[rows]
        if pixels.dtype == self._x.dtype:
            return pixels
        x = self._x[:count]
        if pixels.dtype == np.uint8:
            return np.divide(pixels, 255, out=x, dtype=x.dtype)
        np.copyto(x, pixels, casting="unsafe")
        return x

    def _cross_entropy(self, logits: Array) -> float:
        """Return the sum over rows of log(sum_j exp(z_nj)) - z_ny, with z = logits - row maximum."""
        count = len(self._labels)
        shifted, exponentials = self._shifted[:, :count], self._probabilities[:, :count]
        maximum, normalizer = self._row_maximum[:count], self._normalizer[:count]
        np.copyto(shifted, logits.T)
        np.maximum.reduce(shifted, axis=0, out=maximum)
        shifted -= maximum
        np.maximum(shifted, self._lowest, out=shifted)
        np.exp(shifted, out=exponentials)
        np.add.reduce(exponentials, axis=0, out=normalizer)
        losses = np.log(normalizer) - shifted[self._labels, self._columns[:count]]
        return float(losses.sum(dtype=np.promote_types(losses.dtype, np.float64)))

    def _cross_entropy_backward(self, batch_size: int) -> Array:
        """Return (softmax(logits) - one_hot) / batch_size."""
        count = len(self._labels)
        difference = self._probabilities[:, :count]
        difference /= self._normalizer[:count]
        difference[self._labels, self._columns[:count]] -= 1
        difference /= batch_size
        return difference.T


def _strips(rows: Array, count: int) -> Array:
    """Return at least the first ``count`` rows, the rows of each strip joined into one."""
    strips = -(-count // STRIP)
    return rows[: strips * STRIP].reshape(strips, -1)
