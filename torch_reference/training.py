"""The same training loop in PyTorch, as fast as its device allows.

The network, its loss, its gradients and its update are PyTorch's own. Speed comes from three things around them. A
batch passes in blocks of rows that fit a CPU's caches or spare a GPU's memory; their gradients add up. Nothing waits
for a number to arrive from the device. And on a GPU an epoch is captured once, as a CUDA graph
(https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs), which the device then repeats without the host.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from torch_reference.graphs import Graphs
from torch_reference.sharding import LostProcessError, Shards

Examples = tuple[Tensor, Tensor]
"""Rows (N, F) in [0, 1] and labels (N,), on one device."""

Batches = Sequence[NDArray[np.integer] | slice]
"""Which examples each update of an epoch sees, none of them twice; `slice(None)` stands for all of them, in order."""

Figures = tuple[float, float, float, float]
"""train_loss, train_accuracy, valid_loss, valid_accuracy

The training figures are means over the epoch's examples, each seen with the weights of its batch; validation is
measured with the weights of the last batch, before its update.
"""

BLOCK_OUTPUTS = {"cpu": 2**21, "cuda": 2**23}
"""Outputs that all layers together have for a block of rows, at most."""

UPDATES_IN_A_GRAPH = 100
"""More would be hardly faster, and take long to capture."""

SECONDS_UNWATCHED = 0.1
"""How long a GPU trains before the host asks for figures; some hundred epochs of a small network."""


def to_examples(images: ArrayLike, labels: NDArray[np.int64], like: Tensor) -> Examples:
    """Copy images to the device of ``like`` and turn them into its precision; uint8 pixels become numbers in [0, 1]."""
    rows = torch.tensor(np.asarray(images), device=like.device)
    scale = 255 if rows.dtype == torch.uint8 else 1
    return rows.to(like.dtype).div_(scale), torch.tensor(labels, device=like.device)


def train_epochs(
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    train: Examples,
    valid: Examples,
    epochs: Sequence[int],
    batches: Callable[[int], Batches],
) -> Iterator[list[Figures]]:
    """Train one epoch for each number in ``epochs``.

    When figures are yielded, ``module`` and ``optimizer`` hold the outcome of the last of their epochs.

    Of several processes, each gives its own share of the rows (``Shards.rows``), and all train the same network. When
    process 0 has no more ``epochs``, or asks for no more, the others end too.

    Parameters
    ----------
    batches : gives the batches of an epoch by its number; the same in every process

    Yields
    ------
    list of Figures
        Of one epoch; on a GPU, of as many as it trains in a moment.

    Raises
    ------
    LostProcessError
        If another process has ended.
    """
    loop = _Loop(module, optimizer, train, valid)
    done, together = 0, 1
    try:
        while count := loop.shards.broadcast_object(min(together, len(epochs) - done)):
            start = time.perf_counter()
            figures = loop.epochs([batches(epoch) for epoch in epochs[done : done + count]])
            if loop.on_gpu and time.perf_counter() - start < SECONDS_UNWATCHED:
                together *= 2
            done += count
            yield figures
    except GeneratorExit:
        with suppress(LostProcessError):
            loop.shards.broadcast_object(0)
        raise


def evaluate(module: nn.Module, examples: Examples) -> tuple[float, float]:
    """Return mean loss and accuracy; NaN for an empty set. Several processes give a share of the rows each."""
    totals = torch.zeros(3, dtype=torch.float64, device=examples[0].device)
    totals[2] = len(examples[1])
    _score(module, examples, totals)
    Shards().all_reduce([totals])
    loss, accuracy, _ = (totals / totals[2]).tolist()
    return loss, accuracy


class _Loop:
    """What an epoch does, with all that it reads and writes in one place in memory, as a graph needs it."""

    def __init__(self, module: nn.Module, optimizer: torch.optim.Optimizer, train: Examples, valid: Examples) -> None:
        self.module, self.optimizer, self.train, self.valid = module, optimizer, train, valid
        device = train[0].device
        self.on_gpu = device.type == "cuda"
        self.shards = Shards()
        counts = torch.zeros(self.shards.count, 2, dtype=torch.int64, device=device)
        counts[self.shards.number] = torch.tensor([len(train[1]), len(valid[1])])
        self.shards.all_reduce([counts])
        self.first = int(counts[: self.shards.number, 0].sum())  # which of all rows this process's first one is
        self.train_count, self.valid_count = counts.sum(dim=0).tolist()
        self.rows = torch.zeros(len(train[1]), dtype=torch.int64, device=device)
        self.totals = torch.zeros(4, dtype=torch.float64, device=device)  # as Figures, but sums
        self.shares: dict[int, Tensor] = {}
        self.graphs = Graphs(device)

    def epochs(self, epochs: Sequence[Batches]) -> list[Figures]:
        """Train some epochs and wait for their figures at the end."""
        with self.graphs.on_stream():
            totals = torch.zeros(len(epochs), 4, dtype=torch.float64, device=self.totals.device)
            for batches, epoch_totals in zip(epochs, totals, strict=True):
                self.totals.zero_()
                for start in range(0, len(batches), UPDATES_IN_A_GRAPH):
                    stop = start + UPDATES_IN_A_GRAPH
                    self._updates(batches[start:stop], last=stop >= len(batches))
                epoch_totals.copy_(self.totals)
            self.shards.all_reduce([totals])
            counts = totals.new_tensor([self.train_count] * 2 + [self.valid_count] * 2)
            return [(a, b, c, d) for a, b, c, d in (totals / counts).tolist()]

    def _updates(self, batches: Batches, last: bool) -> None:
        """Update the network once for each batch; before the last update of an epoch, validate."""
        drawn = [rows for rows in batches if isinstance(rows, np.ndarray)]
        sizes = [len(rows) for rows in drawn] or [self.train_count]
        shares = self._place(drawn) if drawn else [None]

        def updates() -> None:
            for number, (size, rows) in enumerate(zip(sizes, shares, strict=True), start=1):
                if last and number == len(sizes):
                    _score(self.module, self.valid, self.totals[2:])
                self._update(rows, size)

        if self.shards.count > 1:
            updates()  # sums over processes are no part of a graph
        else:
            learning = [(group["lr"], group["momentum"]) for group in self.optimizer.param_groups]  # captured too
            self.graphs.repeat(updates, (*sizes, last, *learning))

    def _place(self, batches: Sequence[NDArray[np.integer]]) -> Sequence[Tensor | None]:
        """Write the rows of each batch that this process has to where the graph expects them."""
        own = [rows[(rows >= self.first) & (rows < self.first + len(self.rows))] - self.first for rows in batches]
        rows = torch.from_numpy(np.concatenate(own))
        self.rows[: len(rows)].copy_(rows.pin_memory() if self.on_gpu else rows, non_blocking=True)
        return self.rows[: len(rows)].split([len(rows) for rows in own])

    def _update(self, rows: Tensor | None, size: int) -> None:
        """Move the weights along the gradient of the mean loss over a batch of ``size`` examples.

        The gradient of a mean is the sum over the examples of that of loss / size, so that blocks, and processes, may
        add up their parts, however many examples each of them has.
        """
        self.optimizer.zero_grad()
        if size not in self.shares:
            self.shares[size] = self.train[0].new_tensor(1 / size)
        for block in _blocks(self.module, self.train[1] if rows is None else rows):
            images, labels = (values[block if rows is None else rows[block]] for values in self.train)
            logits = self.module(images)
            loss = cross_entropy(logits, labels, reduction="sum")
            loss.backward(self.shares[size])
            _count(self.totals, loss.detach(), logits, labels)
        self.shards.all_reduce(value.grad for value in self.module.parameters() if value.grad is not None)
        self.optimizer.step()


@torch.no_grad()
def _score(module: nn.Module, examples: Examples, totals: Tensor) -> None:
    """Add the losses and the number of right answers to the first two of ``totals``."""
    for block in _blocks(module, examples[1]):
        images, labels = (values[block] for values in examples)
        logits = module(images)
        _count(totals, cross_entropy(logits, labels, reduction="sum"), logits, labels)


def _count(totals: Tensor, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
    totals[0] += loss
    totals[1] += (logits.detach().argmax(dim=1) == labels).sum()


def _blocks(module: nn.Module, rows: Tensor) -> list[slice]:
    """Cut rows into blocks of about one length; no rows are one block of none, so that they have a gradient too."""
    outputs = sum(layer.out_features for layer in module.modules() if isinstance(layer, nn.Linear))
    blocks = -(-len(rows) * outputs // BLOCK_OUTPUTS[rows.device.type])
    blocks = max(1, min(blocks, len(rows)))
    stops = [len(rows) * i // blocks for i in range(blocks + 1)]
    return [slice(*block) for block in pairwise(stops)]
