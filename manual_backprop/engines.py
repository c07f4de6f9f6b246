"""What can train a network for an epoch: an engine; one for any network, by its own `backprop`."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from manual_backprop.arrays import Array, Keep, Rows, rows_in
from manual_backprop.data.datasets import Dataset, Split
from manual_backprop.layers import cross_entropy
from manual_backprop.networks.network import Classifier
from manual_backprop.optimizers import Optimizer
from manual_backprop.scores import Score, Sums, mean_score


class Engine(Protocol):
    """Updates a network batch after batch."""

    def epoch(self, dataset: Dataset, batches: Sequence[Rows], rng: np.random.Generator) -> tuple[Score, Score]:
        """Update the network once for each batch.

        Parameters
        ----------
        batches : which examples each update sees
        rng : draws which units are dropped

        Returns
        -------
        training, validation : Score
            Every example is scored with the weights of its batch, validation with those of the last batch; both before
            its update.
        """


class Gradients(Protocol):
    """Computes gradients of a network, and scores on the way."""

    def backprop(
        self, train: Split, rows: Rows, valid: Split | None, keep: Keep
    ) -> tuple[Sequence[Sums], Mapping[str, Array], Sequence[Sums]]:
        """Return the score on a batch, its gradients, and the score of the same weights on a validation set."""


class GradientDescent:
    """The engine of whatever computes gradients: an update by the optimizer after each."""

    def __init__(self, network: Classifier, optimizer: Optimizer, gradients: Gradients) -> None:
        self._network, self._optimizer, self._gradients = network, optimizer, gradients

    def epoch(self, dataset: Dataset, batches: Sequence[Rows], rng: np.random.Generator) -> tuple[Score, Score]:
        """Update the network for each batch; see `Engine`."""
        training: list[Sums] = []
        for number, rows in enumerate(batches, start=1):
            keep = self._network.draw_keep(rows_in(rows, len(dataset.train)), rng)
            valid = dataset.valid if number == len(batches) else None
            scores, gradients, validation = self._gradients.backprop(dataset.train, rows, valid, keep)
            self._optimizer.step(gradients)
            training += scores
        return mean_score(training), mean_score(validation)


class Textbook:
    """The gradients that a network itself computes, in one piece."""

    def __init__(self, network: Classifier) -> None:
        self._network = network

    def backprop(
        self, train: Split, rows: Rows, valid: Split | None = None, keep: Keep = None
    ) -> tuple[Sequence[Sums], Mapping[str, Array], Sequence[Sums]]:
        """Return the score on a batch, its gradients, and the score of the same weights on a validation set."""
        with np.errstate(over="ignore", invalid="ignore"):  # a diverging network shows in its loss
            validation = [] if valid is None else self.sums(valid)
            labels = train.labels[rows]
            logits, gradients = self._network.logits_and_gradients(train.images[rows], labels, keep)
            return [_sums(logits, labels)], gradients, validation

    def sums(self, split: Split) -> list[Sums]:
        """Return the score on a set, as prediction sees it."""
        step = self._network.prediction_rows
        blocks = (slice(start, start + step) for start in range(0, len(split), step))
        return [_sums(self._network(split.images[rows]), split.labels[rows]) for rows in blocks]


def _sums(logits: Array, labels: NDArray[np.integer]) -> Sums:
    correct = int((logits.argmax(axis=1) == labels).sum())
    return Sums(float(cross_entropy(logits, labels)) * len(labels), correct, len(labels))
