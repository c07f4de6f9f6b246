"""The same training loop in PyTorch, on a CPU or a CUDA device."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

Examples = tuple[Tensor, Tensor]
"""Rows (N, F) in [0, 1] and labels (N,), on one device."""

Batches = Sequence[NDArray[np.int64] | None]
"""Which examples each update of an epoch sees; None stands for all of them, in order."""


def to_examples(images: ArrayLike, labels: NDArray[np.int64], like: Tensor) -> Examples:
    """Copy images to the device of ``like`` and turn them into its precision; uint8 pixels become numbers in [0, 1]."""
    rows = torch.tensor(np.asarray(images), device=like.device)
    scale = 255 if rows.dtype == torch.uint8 else 1
    return rows.to(like.dtype) / scale, torch.tensor(labels, device=like.device)


def train_epochs(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    train: Examples,
    valid: Examples,
    epochs: Iterable[int],
    batches: Callable[[int], Batches],
) -> Iterator[tuple[float, float, float, float]]:
    """Train one epoch for each number in ``epochs``.

    Parameters
    ----------
    batches : gives the batches of an epoch by its number

    Yields
    ------
    train_loss, train_accuracy, valid_loss, valid_accuracy
        The training figures are means over the epoch's examples, each seen with the weights of its batch; validation
        is measured with the weights of the last batch, before its update.
    """
    for epoch in epochs:
        totals = torch.zeros(2, dtype=torch.float64, device=train[0].device)
        valid_metrics = (np.nan, np.nan)
        epoch_batches = batches(epoch)
        for number, rows in enumerate(epoch_batches, start=1):
            images, labels = train if rows is None else (values[rows] for values in train)
            optimizer.zero_grad()
            logits = module(images)
            loss = cross_entropy(logits, labels)
            loss.backward()
            totals += torch.stack([loss.detach() * len(labels), (logits.argmax(1) == labels).sum()])
            if number == len(epoch_batches):
                valid_metrics = evaluate(module, valid)
            optimizer.step()
        train_loss, train_accuracy = (totals / len(train[1])).tolist()
        yield train_loss, train_accuracy, *valid_metrics


@torch.no_grad()
def evaluate(module: nn.Module, examples: Examples) -> tuple[float, float]:
    """Return mean loss and accuracy; NaN for an empty set."""
    images, labels = examples
    if len(labels) == 0:
        return np.nan, np.nan
    logits = module(images)
    return cross_entropy(logits, labels).item(), (logits.argmax(1) == labels).double().mean().item()
