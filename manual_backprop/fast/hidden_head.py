"""What follows the product of a `CNN`'s hidden layer: its bias, relu and dropout, the output layer and the loss."""

import numpy as np
from numpy.typing import NDArray

from manual_backprop.arrays import Array
from manual_backprop.fast.cross_entropy_in_place import CrossEntropyInPlace
from manual_backprop.networks.cnn import CNN
from manual_backprop.optimizers import Optimizer
from manual_backprop.scores import Sums, count


class HiddenHead:
    """The head of a `CNN` for up to `rows` images, whose hidden units come in `parts` that add up to them."""

    def __init__(self, cnn: CNN, optimizer: Optimizer, rows: int, parts: int) -> None:
        hidden, classes = cnn.parameters["output.weight"].shape
        self._cnn, self._optimizer, self._scratch = cnn, optimizer, optimizer.scratch()
        self.parts = np.zeros((parts, rows, hidden), cnn.dtype)
        self.grad_hidden = np.zeros((rows, hidden), cnn.dtype)
        self._units = np.zeros((rows, hidden), cnn.dtype)
        self._active = np.zeros((rows, hidden), bool)
        self._grad_logits = np.zeros((0, classes), cnn.dtype)
        self._logits = np.zeros((rows, classes), cnn.dtype)
        self._cross_entropy = CrossEntropyInPlace(rows, classes, cnn.dtype)

    def score(self, labels: NDArray[np.integer], rng: np.random.Generator | None) -> Sums:
        """Return the score of `parts`; where there is a generator, leave dL/d(their sum) in `grad_hidden`."""
        n, parameters = len(labels), self._cnn.parameters
        units, logits = self._units[:n], self._logits[:n]
        np.add.reduce(self.parts[:, :n], axis=0, out=units)
        units += parameters["hidden.bias"]
        np.maximum(units, 0, out=units)
        keep = None if rng is None else self._cnn.draw_keep(n, rng)
        if keep is not None:
            units *= keep
            units /= 1 - self._cnn.dropout
        np.matmul(units, parameters["output.weight"], out=logits)
        logits += parameters["output.bias"]
        losses, softmax = self._cross_entropy.forward(logits, labels)
        if rng is not None:
            self._grad_logits = self._cross_entropy.backward(softmax, n)
            grad_hidden, active = self.grad_hidden[:n], self._active[:n]
            np.matmul(self._grad_logits, parameters["output.weight"].T, out=grad_hidden)
            np.greater(units, 0, out=active)  # exactly where relu passed something on that was not dropped
            grad_hidden *= active
            if keep is not None:
                grad_hidden /= 1 - self._cnn.dropout
        return count(losses, logits, labels)

    def update(self, step: int) -> None:
        """Update the head's parameters by the batch that was scored last."""
        n = len(self._grad_logits)
        gradients = {
            "output.weight": self._units[:n].T @ self._grad_logits,
            "output.bias": np.add.reduce(self._grad_logits, axis=0),
            "hidden.bias": np.add.reduce(self.grad_hidden[:n], axis=0),
        }
        for name, gradient in gradients.items():
            update(self._optimizer, name, slice(None), gradient, step, self._scratch)


def update(optimizer: Optimizer, name: str, part: slice, gradient: Array, step: int, scratch: Array) -> None:
    """Update a part of a parameter."""
    state = {kind: optimizer.state[kind][name][part] for kind in optimizer.kinds}
    optimizer.update(name, optimizer.parameters[name][part], gradient, state, step, scratch)
