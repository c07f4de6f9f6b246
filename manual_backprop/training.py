"""The training loop of the assignment (1.3, ``learning``), full batch or minibatches."""

import time
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from manual_backprop.datasets import Dataset, Split
from manual_backprop.history import History, Metrics
from manual_backprop.layers import cross_entropy
from manual_backprop.network import MLP
from manual_backprop.optimizer import Momentum


def train(
    mlp: MLP,
    dataset: Dataset,
    *,
    epochs: int = 200,
    learning_rate: float = 0.1,
    momentum: float = 0.9,
    initial_velocity: float = 1e-5,
    batch_size: int | None = None,
    seed: int = 0,
) -> History:
    """Train the network in place with the assignment's values, or others.

    Parameters
    ----------
    mlp : the network
    dataset : trained on ``dataset.train``, measured on ``dataset.valid`` too
    epochs : passes over the training set
    learning_rate, momentum, initial_velocity : as in ``Momentum``
    batch_size : examples for each update; None for all of them, as in the assignment
    seed : decides the order in which minibatches draw the examples

    Raises
    ------
    DivergenceError
        If the loss becomes NaN or infinite.
    """
    optimizer = Momentum(mlp.parameters, learning_rate, momentum, initial_velocity)
    history = History()
    start = time.perf_counter()
    for metrics in train_epochs(mlp, optimizer, dataset, range(epochs), batch_size, seed):
        history.append(metrics, time.perf_counter() - start)
    return history


def train_epochs(
    mlp: MLP, optimizer: Momentum, dataset: Dataset, epochs: Iterable[int], batch_size: int | None = None, seed: int = 0
) -> Iterator[Metrics]:
    """Train one epoch for each number in ``epochs`` and yield its metrics.

    When an epoch is yielded, ``mlp`` and ``optimizer`` hold its outcome. Nothing else is remembered from one epoch to
    the next, so that a later call with the later numbers goes on as if there had been no break.
    """
    for epoch in epochs:
        loss_sum, correct, valid_metrics = 0.0, 0, (np.nan, np.nan)
        batches = epoch_batches(len(dataset.train), batch_size, seed, epoch)
        for number, rows in enumerate(batches, start=1):
            images, labels = dataset.train.images[rows], dataset.train.labels[rows]
            with np.errstate(over="ignore", invalid="ignore"):  # a diverging run ends by its loss, not by warnings
                loss, gradients = mlp.backprop(images, labels)
                loss_sum += loss * len(labels)
                correct += int((mlp(images).argmax(axis=1) == labels).sum())
                if number == len(batches):
                    valid_metrics = evaluate(mlp, dataset.valid)
                optimizer.step(gradients)
        count = len(dataset.train)
        yield Metrics(loss_sum / count, correct / count, *valid_metrics)


def epoch_batches(count: int, batch_size: int | None, seed: int, epoch: int) -> list[NDArray[np.int64] | slice]:
    """Return which examples each update of an epoch sees.

    Without ``batch_size`` that is all of them, in order. With it, every example occurs once, in an order that follows
    from ``seed`` and ``epoch`` alone; the last batch holds what is left.
    """
    if batch_size is None or batch_size >= count:
        return [slice(None)]
    order = np.random.default_rng([seed, epoch]).permutation(count)
    return [order[start : start + batch_size] for start in range(0, count, batch_size)]


def evaluate(mlp: MLP, split: Split) -> tuple[float, float]:
    """Return mean loss and accuracy on a set; NaN for an empty one."""
    if len(split) == 0:
        return np.nan, np.nan
    logits = mlp(split.images)
    return float(cross_entropy(logits, split.labels)), float((logits.argmax(axis=1) == split.labels).mean())
