"""Training a `CNN`, its channels shared out among workers.

Up to the hidden layer channels have nothing to do with each other: not even batch normalisation, whose statistics are
of one channel over the whole batch. So each worker has some channels, and the rows of the hidden layer's weight that
read them, which are most of the network. What it adds to the hidden units is the only thing that it tells the others;
worker 0 adds them up, does the little that follows, and gives back the gradient of the hidden units. Meanwhile the last
worker loads the next images. Each worker updates its own weights as soon as they have passed the gradient on, some rows
at a time, while they are near.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np

from manual_backprop.arrays import Array, Rows
from manual_backprop.data.datasets import Dataset, Split
from manual_backprop.fast.feature_maps import FeatureMaps
from manual_backprop.fast.hidden_head import HiddenHead, update
from manual_backprop.fast.in_place import chosen_labels
from manual_backprop.fast.planes import Planes
from manual_backprop.fast.workers import Workers
from manual_backprop.networks.cnn import CNN
from manual_backprop.optimizers import Optimizer
from manual_backprop.scores import Score, Sums, mean_score

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
        self._planes = Planes(side, rows, cnn.dtype)
        head = HiddenHead(cnn, optimizer, rows, parts)
        self._parts = [
            _Part(cnn, optimizer, number, parts, self._planes, head, rows, self._workers.meet)
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
        for split, rows in batches[:1]:
            split.check(self._features)
            chosen_labels(split, slice(None), len(self._cnn.parameters["output.bias"]))
            self._planes.load(0, split, rows)
        scores: list[Sums] = []

        def task(number: int, _worker: int) -> None:
            # a diverging network shows in its loss; warnings from every worker would only repeat it
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                for turn in range(len(batches)):
                    score = self._parts[number].batch(batches, turn, rng)
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


class _Piece(NamedTuple):
    """Some rows of the hidden layer's weight, and what updates them."""

    rows: slice
    weight: Array
    state: dict[str, Array]
    gradient: Array


class _Part:
    """One worker's channels, and the rows of the hidden layer's weight that read them."""

    def __init__(
        self,
        cnn: CNN,
        optimizer: Optimizer,
        number: int,
        parts: int,
        planes: Planes,
        head: HiddenHead,
        rows: int,
        meet: Callable[[], None],
    ) -> None:
        self._optimizer, self._planes, self._head, self._meet = optimizer, planes, head, meet
        self._number, self._is_last = number, number == parts - 1
        channels = len(cnn.parameters["convolution.bias"])
        self._channels = slice(channels * number // parts, channels * (number + 1) // parts)
        self._maps = FeatureMaps(cnn, self._channels, planes.side, rows)
        windows = self._maps.windows
        inputs = slice(self._channels.start * windows, self._channels.stop * windows)
        self._weight = cnn.parameters["hidden.weight"][inputs]
        state = {kind: optimizer.state[kind]["hidden.weight"][inputs] for kind in optimizer.kinds}
        self._scratch = optimizer.scratch()
        self._grad_features = np.zeros(len(self._weight) * rows, cnn.dtype)
        gradient = np.zeros((UPDATE_ROWS, self._weight.shape[1]), cnn.dtype)
        self._pieces = []
        for start in range(0, len(self._weight), UPDATE_ROWS):
            piece = slice(start, start + UPDATE_ROWS)
            weight = self._weight[piece]
            own = {kind: value[piece] for kind, value in state.items()}
            self._pieces.append(_Piece(piece, weight, own, gradient[: len(weight)]))

    def batch(self, batches: Sequence[Batch], turn: int, rng: np.random.Generator | None) -> Sums | None:
        """Score a batch and, where there is a generator, update what is this worker's; worker 0 returns the score."""
        step, training, score = self._optimizer.steps + turn + 1, rng is not None, None
        features, kept = self._maps.forward(self._planes[turn], training)
        n = features.shape[1]
        np.matmul(features.T, self._weight, out=self._head.parts[self._number, :n])
        self._meet()
        if self._number == 0:
            split, rows = batches[turn]
            score = self._head.score(split.labels[rows], rng)
        if self._is_last and turn + 1 < len(batches):
            self._planes.load(turn + 1, *batches[turn + 1])
        self._meet()
        if training:
            if self._number == 0:
                self._head.update(step)
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
        for rows, weight, state, gradient in self._pieces:
            np.matmul(weight, columns, out=grad_x[rows])
            np.matmul(x[rows], grad_output, out=gradient)
            self._optimizer.update("hidden.weight", weight, gradient, state, step, gradient.reshape(-1))


def image_side(cnn: CNN) -> int:
    """Return the even height and width of images that the network takes."""
    windows = len(cnn.parameters["hidden.weight"]) // len(cnn.parameters["convolution.bias"])
    return 2 * round(windows**0.5)
