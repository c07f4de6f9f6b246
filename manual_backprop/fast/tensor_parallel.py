"""Training on small batches, the units of the network shared out among workers.

In a small batch the products are short, and what surrounds them counts: the update passes over every weight, and the
rows are too few to share out. Here each worker has some units of every hidden layer and all that belongs to them: the
weights that lead to a unit, its bias, the optimizer's state of both. No other worker reads them, so that they stay
near. The workers only tell each other what their units put out, and what they pass back (M. Shoeybi et al.,
Megatron-LM, 2019, section 3, call this tensor parallelism).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from manual_backprop.arrays import Array, Rows
from manual_backprop.data.datasets import Dataset, Split
from manual_backprop.fast.blocked import BlockedBackprop
from manual_backprop.fast.cross_entropy_in_place import CrossEntropyInPlace, Softmax
from manual_backprop.fast.in_place import BiasRelu, chosen_images, chosen_labels, whole_strips
from manual_backprop.fast.workers import Workers
from manual_backprop.networks.mlp import MLP, names
from manual_backprop.optimizers import Optimizer
from manual_backprop.scores import Score, Sums, count, mean_score

# A worker pays off from this many weights on, by measurements on two cores. With fewer, the workers wait longer for
# each other, and for Python's lock, than they save.
FEWEST_WEIGHTS = 125_000
# The most examples of a batch: from here on, blocks of rows are as fast, in less memory.
LARGEST_BATCH = 1000


def worthwhile_parts(mlp: MLP, batch_size: int) -> int:
    """Return among how many workers to share the units; with 1, `BlockedBackprop` is as fast."""
    if batch_size > LARGEST_BATCH:
        return 1
    weights = sum(value.size for value in mlp.parameters.values())
    return max(1, min(Workers().count, weights // FEWEST_WEIGHTS, *mlp.sizes[1:-1])) if mlp.depth > 1 else 1


class TensorParallel:
    """Updates of one network, batch after batch.

    The last bits depend on the number of parts, because the logits are the sum of those of each part.

    Parameters
    ----------
    mlp, optimizer : the network, of two or more layers, and what updates it, by all the same arrays
    batch_size : the most examples of a batch
    parts : among how many workers to share the units; at most as many as the narrowest hidden layer has
    """

    def __init__(self, mlp: MLP, optimizer: Optimizer, batch_size: int, parts: int) -> None:
        self._mlp, self._optimizer = mlp, optimizer
        self._evaluation = BlockedBackprop(mlp)
        self._workers = Workers(parts)
        self._exchange = _Exchange(mlp, batch_size, parts, self._workers)
        self._parts = [_Part(mlp, optimizer, batch_size, number, self._exchange) for number in range(parts)]

    def epoch(self, dataset: Dataset, batches: Sequence[Rows], _rng: np.random.Generator) -> tuple[Score, Score]:
        """Update the network for each batch; see `Engine`. Nothing is dropped."""
        *earlier, last = (np.arange(len(dataset.train))[rows] for rows in batches)
        training = self.train(dataset.train, earlier)
        validation = self._evaluation.evaluate(dataset.valid)
        training += self.train(dataset.train, [last])
        return mean_score(training), validation

    def train(self, split: Split, batches: Sequence[NDArray[np.integer]]) -> list[Sums]:
        """Update the network once for each batch, and return scores that add up to those of all batches.

        Each example is scored with the weights before the update of its batch.

        Parameters
        ----------
        split : images (N, F) as `MLP.backprop` takes them, integer labels (N,)
        batches : which examples are in each; none of them empty

        Raises
        ------
        ValueError
            If images or labels do not fit the network; nothing has been changed then.
        """
        split.check(self._mlp.sizes[0])
        chosen_labels(split, slice(None), self._mlp.sizes[-1])

        def task(number: int, _worker: int) -> list[Sums]:
            # a diverging network shows in its loss; warnings from every worker would only repeat it
            with np.errstate(over="ignore", invalid="ignore"):
                return self._parts[number].train(split, batches)

        scores = self._workers.run(task, len(self._parts))
        self._optimizer.steps += len(batches)
        return [score for own in scores for score in own]


class _Exchange:
    """What the workers tell each other. Each writes its own part, and reads the others' after they have met."""

    def __init__(self, mlp: MLP, batch_size: int, parts: int, workers: Workers) -> None:
        *_, classes = mlp.sizes
        hidden = mlp.sizes[1:-1]

        def array(*shape: int, dtype: DTypeLike = mlp.dtype) -> NDArray[Any]:
            return np.zeros(shape, dtype)

        self.parts = parts
        self.meet = workers.meet
        self.pixels = array(batch_size, mlp.sizes[0], dtype=np.uint8)
        # While one worker reads the images of a batch, a faster one may write those of the next but one, ...
        self.images = [array(batch_size, mlp.sizes[0]) for _ in range(3)]
        # ... and its part of the next logits. The logits are sums over all hidden units.
        self.logits = [array(parts, batch_size, classes) for _ in range(2)]
        # what each hidden layer but the last puts out, and the parts of dL/d(that), which is a sum over the next layer
        self.outputs = [array(batch_size, size) for size in hidden[:-1]]
        self.grad_outputs = [array(parts, batch_size, size) for size in hidden[:-1]]

    def share(self, size: int, number: int) -> slice:
        """Return which of `size` rows or units are those of worker `number`."""
        return slice(size * number // self.parts, size * (number + 1) // self.parts)


class _Part:
    """One worker's units: their part of `MLP.backprop`, line by line, and of the update."""

    def __init__(self, mlp: MLP, optimizer: Optimizer, batch_size: int, number: int, exchange: _Exchange) -> None:
        self._number, self._exchange, self._optimizer = number, exchange, optimizer
        self._hidden = mlp.depth - 1
        *_, classes = mlp.sizes
        rows = whole_strips(batch_size)
        self._units = [exchange.share(size, number) for size in mlp.sizes[1:-1]]
        sizes = [units.stop - units.start for units in self._units]
        self._own: dict[str, Any] = {}
        for i, units in enumerate(self._units):
            self._own |= dict(zip(names(i), (np.s_[:, units], np.s_[units]), strict=True))
        # the last layer is shared out by its inputs, since it may have fewer units than there are workers
        last_weight, last_bias = names(self._hidden)
        self._own[last_weight] = self._units[-1]
        if number == 0:
            self._own[last_bias] = np.s_[:]
        # copies, since NumPy takes three times as long for the same numbers where they are columns of a wider array
        self._parameters = {name: mlp.parameters[name][own].copy() for name, own in self._own.items()}
        self._state = {
            name: {kind: np.empty_like(value) for kind in optimizer.kinds} for name, value in self._parameters.items()
        }
        self._scratch = optimizer.scratch()
        self._gradients = {name: np.empty_like(value) for name, value in self._parameters.items()}
        self._outputs = [np.zeros((rows, size), mlp.dtype) for size in sizes]
        self._bias_relu = [BiasRelu(size, mlp.dtype) for size in sizes]
        self._grad_outputs = [np.zeros((rows, size), mlp.dtype) for size in sizes]
        self._active = [np.zeros((rows, size), bool) for size in sizes]
        self._logits = np.zeros((batch_size, classes), mlp.dtype)
        self._cross_entropy = CrossEntropyInPlace(batch_size, classes, mlp.dtype)

    def train(self, split: Split, batches: Sequence[NDArray[np.integer]]) -> list[Sums]:
        """Do this worker's part of every update, and return the scores of its share of the rows."""
        for name, own in self._own.items():
            self._parameters[name][:] = self._optimizer.parameters[name][own]
            for kind, value in self._state[name].items():
                value[:] = self._optimizer.state[kind][name][own]
        scores = []
        self._load(split, batches, 0)
        self._exchange.meet()
        for turn, rows in enumerate(batches):
            labels = split.labels[rows]
            logits = self._forward(turn, len(rows))
            self._load(split, batches, turn + 1)
            self._exchange.meet()
            np.add.reduce(logits, axis=0, out=self._logits[: len(rows)])
            score, softmax = self._score(labels)
            scores.append(score)
            self._backward(turn, softmax)
        for name, own in self._own.items():
            self._optimizer.parameters[name][own] = self._parameters[name]
            for kind, value in self._state[name].items():
                self._optimizer.state[kind][name][own] = value
        return scores

    def _load(self, split: Split, batches: Sequence[NDArray[np.integer]], turn: int) -> None:
        """Turn this worker's share of a batch's images into numbers."""
        if turn < len(batches):
            own = self._exchange.share(len(batches[turn]), self._number)
            rows, x = batches[turn][own], self._exchange.images[turn % 3][own]
            images = chosen_images(split.images, rows, self._exchange.pixels[own], x)
            if images is not x:
                x[:] = images

    def _forward(self, turn: int, count: int) -> Array:
        """Return the parts of the logits, of which this worker has written its own."""
        x = self._exchange.images[turn % 3][:count]
        for i in range(self._hidden):
            output = self._outputs[i][:count]
            weight, bias = names(i)
            np.matmul(x, self._parameters[weight], out=output)
            self._bias_relu[i](self._outputs[i], count, self._parameters[bias], relu=True)
            if i < self._hidden - 1:
                self._exchange.outputs[i][:count, self._units[i]] = output
                self._exchange.meet()
                x = self._exchange.outputs[i][:count]
        logits = self._exchange.logits[turn % 2][:, :count]
        weight, bias = names(self._hidden)
        np.matmul(output, self._parameters[weight], out=logits[self._number])
        if self._number == 0:
            logits[0] += self._parameters[bias]
        return logits

    def _score(self, labels: NDArray[np.integer]) -> tuple[Sums, Softmax]:
        own = self._exchange.share(len(labels), self._number)
        logits = self._logits[: len(labels)]
        losses, softmax = self._cross_entropy.forward(logits, labels)
        return count(losses[own], logits[own], labels[own]), softmax

    def _backward(self, turn: int, softmax: Softmax) -> None:
        """Carry the gradient from layer to layer; update each layer once its weights have passed it on."""
        count = len(softmax.labels)
        grad_output = self._cross_entropy.backward(softmax, count)
        for i in reversed(range(self._hidden)):
            output, active = self._outputs[i][:count], self._active[i][:count]
            grad_input = self._grad_outputs[i][:count]
            weight, _ = names(i + 1)
            if i == self._hidden - 1:
                np.matmul(grad_output, self._parameters[weight].T, out=grad_input)
                self._update(turn, i + 1, output, grad_output)
            else:
                parts = self._exchange.grad_outputs[i][:, :count]
                np.matmul(grad_output, self._parameters[weight].T, out=parts[self._number])
                self._update(turn, i + 1, self._exchange.outputs[i][:count], grad_output)
                self._exchange.meet()
                np.add.reduce(parts[:, :, self._units[i]], axis=0, out=grad_input)
            np.greater(output, 0, out=active)  # relu(s) > 0 exactly where s > 0
            grad_input *= active
            grad_output = grad_input
        self._update(turn, 0, self._exchange.images[turn % 3][:count], grad_output)

    def _update(self, turn: int, i: int, x: Array, grad_output: Array) -> None:
        """Update a layer's weight and, where it is this worker's, the bias."""
        weight, bias = names(i)
        np.matmul(x.T, grad_output, out=self._gradients[weight])
        self._move(turn, weight)
        if bias in self._parameters:
            np.add.reduce(grad_output, axis=0, out=self._gradients[bias])
            self._move(turn, bias)

    def _move(self, turn: int, name: str) -> None:
        step = self._optimizer.steps + turn + 1
        state = self._state[name]
        self._optimizer.update(name, self._parameters[name], self._gradients[name], state, step, self._scratch)
