"""Training a `CNN`, its channels shared out among workers.

Up to the hidden layer channels have nothing to do with each other: not even batch normalisation, whose statistics are
of one channel over the whole batch. So each worker has some channels, and the rows of the hidden layer's weight that
read them, which are most of the network. What it adds to the hidden units is the only thing that it tells the others;
worker 0 adds them up, does the little that follows, and gives back the gradient of the hidden units. Each worker
updates its own weights as soon as they have passed the gradient on, some rows at a time, while they are near.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from manual_backprop.arrays import Array, Rows
from manual_backprop.data.datasets import Dataset, Split
from manual_backprop.fast.cross_entropy_in_place import CrossEntropyInPlace
from manual_backprop.fast.feature_maps import FeatureMaps
from manual_backprop.fast.in_place import chosen_images, chosen_labels
from manual_backprop.fast.workers import Workers
from manual_backprop.networks.cnn import CNN
from manual_backprop.optimizers import Optimizer
from manual_backprop.scores import Score, Sums, count, mean_score

EVALUATION_ROWS = 128
"""Rows that are scored at a time."""
UPDATE_ROWS = 196
"""Rows of the hidden layer's weight that are updated at a time: few enough that they, their gradient and state stay
near, and enough that workers, of which one at a time is in Python, seldom wait for each other."""

Batch = tuple[Split, Rows]


class ChannelParallel:
    """Updates of one `CNN`, batch after batch; an `Engine`.

    The last bits depend on the number of workers, by whose parts the hidden units are added up.

    Parameters
    ----------
    cnn, optimizer : the network, for images of an even height and width, and what updates it, by the same arrays
    batch_size : the most examples of a batch
    workers : by default as many as `Workers` finds right for the machine, at most one for each channel
    """

    def __init__(self, cnn: CNN, optimizer: Optimizer, batch_size: int, workers: int | None = None) -> None:
        channels = len(cnn.parameters["convolution.bias"])
        self._cnn, self._optimizer = cnn, optimizer
        parts = min(Workers(workers).count, channels)
        self._workers = Workers(parts)
        side = image_side(cnn)
        self._features = side * side
        states = (value for state in optimizer.state.values() for value in state.values())
        trained = (*cnn.parameters.values(), *cnn.buffers.values(), *states)
        self._trained = [(array, np.empty_like(array)) for array in trained]
        rows = max(batch_size, EVALUATION_ROWS)
        self._head = _Head(cnn, optimizer, rows, parts)
        stops = [channels * number // parts for number in range(parts + 1)]
        self._parts = [
            _Part(
                cnn, optimizer, slice(*stops[number : number + 2]), side, rows, self._head, number, self._workers.meet
            )
            for number in range(parts)
        ]

    def epoch(self, dataset: Dataset, batches: Sequence[Rows], rng: np.random.Generator) -> tuple[Score, Score]:
        """Update the network for each batch; see `Engine`."""
        *earlier, last = ((dataset.train, rows) for rows in batches)
        with self._unless_broken_off():
            training = self._run(earlier, rng)
            validation = self.sums(dataset.valid)
            training += self._run([last], rng)
        return mean_score(training), mean_score(validation)

    def sums(self, split: Split) -> list[Sums]:
        """Return the score on a set, as prediction sees it."""
        starts = range(0, len(split), EVALUATION_ROWS)
        return self._run([(split, slice(start, min(start + EVALUATION_ROWS, len(split)))) for start in starts], None)

    def _run(self, batches: Sequence[Batch], rng: np.random.Generator | None) -> list[Sums]:
        """Score the batches and, where there is a generator for dropout, update the network for each."""
        for split, _ in batches[:1]:
            split.check(self._features)
            chosen_labels(split, slice(None), len(self._cnn.parameters["output.bias"]))
        scores: list[Sums] = []

        def task(number: int, _worker: int) -> None:
            # a diverging network shows in its loss; warnings from every worker would only repeat it
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                for turn, (split, rows) in enumerate(batches):
                    step = self._optimizer.steps + turn + 1
                    score = self._parts[number].batch(split, rows, step, rng)
                    if score is not None:
                        scores.append(score)

        self._workers.run(task, len(self._parts))
        if rng is not None:
            self._optimizer.steps += len(batches)
        return scores

    @contextmanager
    def _unless_broken_off(self) -> Iterator[None]:
        """Let the network be trained; where an error breaks that off, put back what it was."""
        steps = self._optimizer.steps
        for array, before in self._trained:
            np.copyto(before, array)
        try:
            yield
        except BaseException:  # Ctrl-C too
            for array, before in self._trained:
                np.copyto(array, before)
            self._optimizer.steps = steps
            raise


class _Part:
    """One worker's channels, and the rows of the hidden layer's weight that read them."""

    def __init__(
        self,
        cnn: CNN,
        optimizer: Optimizer,
        channels: slice,
        side: int,
        rows: int,
        head: "_Head",
        number: int,
        meet: Callable[[], None],
    ) -> None:
        self._optimizer, self._channels, self._side = optimizer, channels, side
        self._head, self._number, self._meet = head, number, meet
        self._maps = FeatureMaps(cnn, channels, side, rows)
        windows = self._maps.windows
        self._inputs = slice(channels.start * windows, channels.stop * windows)
        self._weight = cnn.parameters["hidden.weight"][self._inputs]
        self._state = {kind: optimizer.state[kind]["hidden.weight"][self._inputs] for kind in optimizer.kinds}
        self._scratch = optimizer.scratch()
        self._pixels = np.zeros((rows, side * side), np.uint8)
        self._images = np.zeros((rows, side * side), cnn.dtype)
        self._grad_features = np.zeros(len(self._weight) * rows, cnn.dtype)
        self._gradient = np.zeros((UPDATE_ROWS, self._weight.shape[1]), cnn.dtype)

    def batch(self, split: Split, rows: Rows, step: int, rng: np.random.Generator | None) -> Sums | None:
        """Score a batch and, where there is a generator, update what is this worker's; worker 0 returns the score."""
        labels = split.labels[rows]
        n, training = len(labels), rng is not None
        images = chosen_images(split.images, rows, self._pixels[:n], self._images[:n])
        features, kept = self._maps.forward(images.reshape(n, self._side, self._side), training)
        np.matmul(features.T, self._weight, out=self._head.parts[self._number, :n])
        self._meet()
        score = self._head.score(labels, rng, step) if self._number == 0 else None
        self._meet()
        if training:
            grad_features = self._grad_features[: features.size].reshape(features.shape)
            self._hidden_backward(features, self._head.grad_hidden[:n], grad_features, step)
            gradients = self._maps.backward(kept, grad_features)
            for name, gradient in gradients.items():
                update(self._optimizer, name, self._channels, gradient, step, self._scratch)
        return score

    def _hidden_backward(self, x: Array, grad_output: Array, grad_x: Array, step: int) -> None:
        """Carry the gradient back through the hidden layer, and update each row once it has passed it on.

        `x` and `grad_x` are (inputs, n), which is the faster order for BLAS.
        """
        columns = np.ascontiguousarray(grad_output.T)
        for start in range(0, len(self._weight), UPDATE_ROWS):
            rows = slice(start, start + UPDATE_ROWS)
            weight = self._weight[rows]
            gradient = self._gradient[: len(weight)]
            np.matmul(weight, columns, out=grad_x[rows])
            np.matmul(x[rows], grad_output, out=gradient)
            state = {kind: value[rows] for kind, value in self._state.items()}
            self._optimizer.update("hidden.weight", weight, gradient, state, step, gradient.reshape(-1))


class _Head:
    """What follows the hidden layer's product: its bias, relu and dropout, the output layer and the loss."""

    def __init__(self, cnn: CNN, optimizer: Optimizer, rows: int, parts: int) -> None:
        hidden, classes = cnn.parameters["output.weight"].shape
        self._cnn, self._optimizer, self._scratch = cnn, optimizer, optimizer.scratch()
        self.parts = np.zeros((parts, rows, hidden), cnn.dtype)
        self.grad_hidden = np.zeros((rows, hidden), cnn.dtype)
        self._units = np.zeros((rows, hidden), cnn.dtype)
        self._active = np.zeros((rows, hidden), bool)
        self._logits = np.zeros((rows, classes), cnn.dtype)
        self._cross_entropy = CrossEntropyInPlace(rows, classes, cnn.dtype)

    def score(self, labels: NDArray[np.integer], rng: np.random.Generator | None, step: int) -> Sums:
        """Return the score; where there is a generator, update and leave dL/d(product) in `grad_hidden`."""
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
            grad_logits = self._cross_entropy.backward(softmax, n)
            grad_hidden, active = self.grad_hidden[:n], self._active[:n]
            np.matmul(grad_logits, parameters["output.weight"].T, out=grad_hidden)
            np.greater(units, 0, out=active)  # exactly where relu passed something on that was not dropped
            grad_hidden *= active
            if keep is not None:
                grad_hidden /= 1 - self._cnn.dropout
            gradients = {
                "output.weight": units.T @ grad_logits,
                "output.bias": np.add.reduce(grad_logits, axis=0),
                "hidden.bias": np.add.reduce(grad_hidden, axis=0),
            }
            for name, gradient in gradients.items():
                update(self._optimizer, name, slice(None), gradient, step, self._scratch)
        return count(losses, logits, labels)


def update(optimizer: Optimizer, name: str, part: slice, gradient: Array, step: int, scratch: Array) -> None:
    """Update a part of a parameter."""
    state = {kind: optimizer.state[kind][name][part] for kind in optimizer.kinds}
    optimizer.update(name, optimizer.parameters[name][part], gradient, state, step, scratch)


def image_side(cnn: CNN) -> int:
    """Return the even height and width of images that the network takes."""
    windows = len(cnn.parameters["hidden.weight"]) // len(cnn.parameters["convolution.bias"])
    return 2 * round(windows**0.5)
