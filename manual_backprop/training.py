"""The training loop of the assignment (1.3, ``learning``), full batch or minibatches."""

import time
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from manual_backprop.data.datasets import Dataset, Split
from manual_backprop.fast.blocked import BlockedBackprop, Score, mean_score
from manual_backprop.fast.tensor_parallel import TensorParallel, worthwhile_parts
from manual_backprop.history import History, Metrics
from manual_backprop.networks.mlp import MLP
from manual_backprop.optimizers import Momentum, Optimizer


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
    mlp: MLP,
    optimizer: Optimizer,
    dataset: Dataset,
    epochs: Iterable[int],
    batch_size: int | None = None,
    seed: int = 0,
) -> Iterator[Metrics]:
    """Train one epoch for each number in ``epochs`` and yield its metrics.

    When an epoch is yielded, ``mlp`` and ``optimizer`` hold its outcome. Nothing else is remembered from one epoch to
    the next, so that a later call with the later numbers goes on as if there had been no break.
    """
    blocked = BlockedBackprop(mlp)
    count = len(dataset.train)
    parallel = None
    if batch_size is not None and batch_size < count and (parts := worthwhile_parts(mlp, batch_size)) > 1:
        parallel = TensorParallel(mlp, optimizer, batch_size, parts)
    for epoch in epochs:
        batches = epoch_batches(count, batch_size, seed, epoch)
        if parallel is None:
            training, validation = _blocked_epoch(blocked, optimizer, dataset, batches)
        else:
            *earlier, last = (rows for rows in batches if rows is not None)
            scores = parallel.train(dataset.train, earlier)
            validation = blocked.evaluate(dataset.valid)
            training = mean_score(scores + parallel.train(dataset.train, [last]))
        yield Metrics(*training, *validation)


def _blocked_epoch(
    blocked: BlockedBackprop, optimizer: Optimizer, dataset: Dataset, batches: Sequence[NDArray[np.int64] | None]
) -> tuple[Score, Score]:
    """Update the network for each batch; return the score on all of them, and on the validation set before the last."""
    scores, sizes = [], []
    for number, rows in enumerate(batches, start=1):
        valid = dataset.valid if number == len(batches) else None
        score, gradients, validation = blocked.backprop(dataset.train, rows, valid)
        optimizer.step(gradients)
        scores.append(score)
        sizes.append(len(dataset.train) if rows is None else len(rows))
    loss, accuracy = np.average(scores, axis=0, weights=sizes)
    return Score(float(loss), float(accuracy)), validation


def epoch_batches(count: int, batch_size: int | None, seed: int, epoch: int) -> Sequence[NDArray[np.int64] | None]:
    """Return which examples each update of an epoch sees; None stands for all of them, in order.

    With ``batch_size``, every example occurs once, in an order that follows from ``seed`` and ``epoch`` alone; the last
    batch holds what is left.
    """
    if batch_size is None or batch_size >= count:
        return [None]
    order = np.random.default_rng([seed, epoch]).permutation(count)
    return [order[start : start + batch_size] for start in range(0, count, batch_size)]


def evaluate(mlp: MLP, split: Split) -> Score:
    """Return mean loss and accuracy on a set; NaN for an empty one."""
    return BlockedBackprop(mlp).evaluate(split)
