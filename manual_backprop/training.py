"""The training loop of the assignment (1.3, `learning`), full batch or minibatches."""

import time
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from tqdm import tqdm

from manual_backprop.arrays import Rows
from manual_backprop.data.datasets import Dataset, Split
from manual_backprop.early_stopping import EarlyStopping
from manual_backprop.engines import Engine, GradientDescent, Textbook
from manual_backprop.fast.blocked import BlockedBackprop
from manual_backprop.fast.channel_parallel import ChannelParallel, image_side
from manual_backprop.fast.tensor_parallel import TensorParallel, worthwhile_parts
from manual_backprop.history import History, Metrics
from manual_backprop.networks.cnn import CNN
from manual_backprop.networks.mlp import MLP
from manual_backprop.networks.network import Classifier
from manual_backprop.optimizers import Momentum, Optimizer
from manual_backprop.scores import Score, mean_score


def train(
    network: Classifier,
    dataset: Dataset,
    *,
    epochs: int = 200,
    learning_rate: float = 0.1,
    momentum: float = 0.9,
    initial_velocity: float = 1e-5,
    batch_size: int | None = None,
    seed: int = 0,
    early_stopping: int | None = None,
    progress: bool = False,
) -> History:
    """Train the network in place with the assignment's values, or others.

    Parameters
    ----------
    network : trained in place
    dataset : trained on `dataset.train`, measured on `dataset.valid` too
    epochs : passes over the training set
    learning_rate, momentum, initial_velocity : as in `Momentum`
    batch_size : examples for each update; None for all of them, as in the assignment
    seed : decides the order in which minibatches draw the examples
    early_stopping : stop after so many epochs without a lower validation loss, measured after the epoch, and keep the
        weights that had the lowest; None trains all `epochs`
    progress : show a bar on standard error

    Raises
    ------
    DivergenceError
        If the loss becomes NaN or infinite.
    ValueError
        If `early_stopping` is below 1, or there is nothing to validate with.
    """
    stopping = (
        None if early_stopping is None else EarlyStopping({**network.parameters, **network.buffers}, early_stopping)
    )
    if stopping and not len(dataset.valid):
        raise ValueError(
            f"early_stopping {early_stopping}: needs examples to validate with, but dataset.valid is empty"
        )
    optimizer = Momentum(network.parameters, learning_rate, momentum, initial_velocity)
    history = History()
    start = time.perf_counter()
    with tqdm(total=epochs, unit="epoch", disable=not progress) as bar:
        for metrics in train_epochs(network, optimizer, dataset, range(epochs), batch_size, seed):
            history.append(metrics, time.perf_counter() - start)
            bar.set_postfix_str(f"loss {metrics.train_loss:.4f}, accuracy {metrics.train_accuracy:.4f}", refresh=False)
            bar.update()
            if stopping and stopping.after(evaluate(network, dataset.valid).loss):
                break
    if stopping:
        stopping.restore()
    return history


def train_epochs(
    network: Classifier,
    optimizer: Optimizer,
    dataset: Dataset,
    epochs: Iterable[int],
    batch_size: int | None = None,
    seed: int = 0,
) -> Iterator[Metrics]:
    """Train one epoch for each number in `epochs` and yield its metrics.

    When an epoch is yielded, `network` and `optimizer` hold its outcome. Nothing else is remembered from one epoch
    to the next, so that a later call with the later numbers goes on as if there had been no break.
    """
    count = len(dataset.train)
    engine = fastest_engine(network, optimizer, dataset, count if batch_size is None else min(batch_size, count))
    for epoch in epochs:
        training, validation = engine.epoch(
            dataset, epoch_batches(count, batch_size, seed, epoch), dropout_rng(seed, epoch)
        )
        yield Metrics(*training, *validation)


def fastest_engine(network: Classifier, optimizer: Optimizer, dataset: Dataset, batch_size: int) -> Engine:
    """Return what trains this network fastest."""
    if isinstance(network, CNN) and dataset.features == image_side(network) ** 2:
        return ChannelParallel(network, optimizer, batch_size)
    if not isinstance(network, MLP):
        return GradientDescent(network, optimizer, Textbook(network))
    if batch_size < len(dataset.train) and not network.dropout and (parts := worthwhile_parts(network, batch_size)) > 1:
        return TensorParallel(network, optimizer, batch_size, parts)
    return GradientDescent(network, optimizer, BlockedBackprop(network))


def epoch_batches(count: int, batch_size: int | None, seed: int, epoch: int) -> Sequence[Rows]:
    """Return which examples each update of an epoch sees; `slice(None)` stands for all of them, in order.

    With `batch_size`, every example occurs once, in an order that follows from `seed` and `epoch` alone; the last
    batch holds what is left.
    """
    if batch_size is None or batch_size >= count:
        return [slice(None)]
    order = np.random.default_rng([seed, epoch]).permutation(count)
    return [order[start : start + batch_size] for start in range(0, count, batch_size)]


def dropout_rng(seed: int, epoch: int) -> np.random.Generator:
    """Return what draws the units to drop, batch after batch of an epoch, on both sides alike."""
    return np.random.default_rng([seed, epoch, 1])


def evaluate(network: Classifier, split: Split) -> Score:
    """Return mean loss and accuracy on a set; NaN for an empty one."""
    if isinstance(network, MLP):
        return BlockedBackprop(network).evaluate(split)
    if isinstance(network, CNN) and split.images.shape[1] == image_side(network) ** 2:
        return mean_score(ChannelParallel(network, Momentum(network.parameters), batch_size=1).sums(split))
    return mean_score(Textbook(network).sums(split))
