"""The same training loop in PyTorch, as fast as its device allows.

The network, its loss, its gradients and its update are PyTorch's own. Speed comes from three things around them. A
batch passes in blocks of rows that fit a CPU's caches or spare a GPU's memory; their gradients add up. Nothing waits
for a number to arrive from the device. And on a GPU an epoch is captured once, as a CUDA graph
(https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs), which the device then repeats without the host.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice, pairwise, repeat
from typing import Any

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

Masks = Iterable[NDArray[np.bool_] | None]
"""Which hidden units each update of an epoch keeps, (examples of the batch, units); None for all of them."""

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
    """Copy images to the device of `like` and turn them into its precision; uint8 pixels become numbers in [0, 1]."""
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
    masks: Callable[[int], Masks] = lambda _epoch: repeat(None),
) -> Iterator[list[Figures]]:
    """Train one epoch for each number in `epochs`.

    When figures are yielded, `module` and `optimizer` hold the outcome of the last of their epochs.

    Of several processes, each gives its own share of the rows (`Shards.rows`), and all train the same network. When
    process 0 has no more `epochs`, or asks for no more, the others end too.

    Parameters
    ----------
    batches : gives the batches of an epoch by its number; the same in every process
    masks : gives the masks of an epoch's dropout, one for each of its batches; likewise the same

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
            figures = loop.epochs([(batches(epoch), masks(epoch)) for epoch in epochs[done : done + count]])
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
        self.keep = torch.zeros(0, 0, dtype=torch.bool, device=device)
        self.totals = torch.zeros(4, dtype=torch.float64, device=device)  # as Figures, but sums
        self.shares: dict[int, Tensor] = {}
        self.needs_whole_batch = any(isinstance(layer, nn.BatchNorm2d) for layer in module.modules())
        self.graphs = Graphs(device)

    def epochs(self, epochs: Sequence[tuple[Batches, Masks]]) -> list[Figures]:
        """Train some epochs and wait for their figures at the end."""
        with self.graphs.on_stream():
            totals = torch.zeros(len(epochs), 4, dtype=torch.float64, device=self.totals.device)
            for (batches, masks), epoch_totals in zip(epochs, totals, strict=True):
                self.totals.zero_()
                masks = iter(masks)
                for start in range(0, len(batches), UPDATES_IN_A_GRAPH):
                    some = batches[start : start + UPDATES_IN_A_GRAPH]
                    self._updates(some, list(islice(masks, len(some))), last=start + len(some) == len(batches))
                epoch_totals.copy_(self.totals)
            self.shards.all_reduce([totals])
            counts = totals.new_tensor([self.train_count] * 2 + [self.valid_count] * 2)
            return [(a, b, c, d) for a, b, c, d in (totals / counts).tolist()]

    def _updates(self, batches: Batches, masks: Sequence[NDArray[np.bool_] | None], last: bool) -> None:
        """Update the network once for each batch; before the last update of an epoch, validate."""
        sizes = [len(rows) if isinstance(rows, np.ndarray) else self.train_count for rows in batches]
        own = [self._own(rows) for rows in batches]
        rows = self._place_rows(own)
        keep = self._place_masks([None if mask is None else mask[i] for mask, (i, _) in zip(masks, own, strict=True)])

        def updates() -> None:
            for number, size in enumerate(sizes):
                if last and number == len(sizes) - 1:
                    _score(self.module, self.valid, self.totals[2:])
                self._update(rows[number], keep[number], size)

        if self.shards.count > 1:
            updates()  # sums over processes are no part of a graph
        else:
            learning = [(group["lr"], group.get("momentum")) for group in self.optimizer.param_groups]  # captured too
            self.graphs.repeat(updates, (*sizes, last, *learning))

    def _own(self, rows: NDArray[np.integer] | slice) -> tuple[NDArray[np.bool_] | slice, NDArray[np.integer] | None]:
        """Return which entries of a batch are rows of this process, and which of its rows they are; None for all."""
        stop = self.first + len(self.rows)
        if isinstance(rows, slice):
            return slice(self.first, stop), None
        own = (rows >= self.first) & (rows < stop)
        return own, rows[own] - self.first

    def _place_rows(self, own: Sequence[tuple[Any, NDArray[np.integer] | None]]) -> Sequence[Tensor | None]:
        """Write the rows of each batch that this process has to where the graph expects them."""
        drawn = [rows for _, rows in own if rows is not None]
        if not drawn:
            return [None] * len(own)
        self._copy(np.concatenate(drawn), self.rows)
        return self.rows[: sum(map(len, drawn))].split([len(rows) for rows in drawn])

    def _place_masks(self, masks: Sequence[NDArray[np.bool_] | None]) -> Sequence[Tensor | None]:
        """Write the masks of this process's rows to where the graph expects them."""
        drawn = [mask for mask in masks if mask is not None]
        if not drawn:
            return [None] * len(masks)
        if not self.keep.numel():
            self.keep = self.keep.new_zeros(len(self.rows), drawn[0].shape[1])
        self._copy(np.concatenate(drawn), self.keep)
        return self.keep[: sum(map(len, drawn))].split([len(mask) for mask in drawn])

    def _copy(self, values: NDArray[Any], place: Tensor) -> None:
        source = torch.from_numpy(values)
        place[: len(source)].copy_(source.pin_memory() if self.on_gpu else source, non_blocking=True)

    def _update(self, rows: Tensor | None, keep: Tensor | None, size: int) -> None:
        """Move the weights along the gradient of the mean loss over a batch of `size` examples.

        The gradient of a mean is the sum over the examples of that of loss / size, so that blocks, and processes, may
        add up their parts, however many examples each of them has.
        """
        self.optimizer.zero_grad()
        if size not in self.shares:
            self.shares[size] = self.train[0].new_tensor(1 / size)
        count = len(self.train[1] if rows is None else rows)
        for block in [slice(count)] if self.needs_whole_batch else _blocks(self.module, self.train[0], count):
            images, labels = (values[block if rows is None else rows[block]] for values in self.train)
            logits = self.module(images) if keep is None else self.module(images, keep[block])
            loss = cross_entropy(logits, labels, reduction="sum")
            loss.backward(self.shares[size])
            _count(self.totals, loss.detach(), logits, labels)
        self.shards.all_reduce(value.grad for value in self.module.parameters() if value.grad is not None)
        self.optimizer.step()


@torch.no_grad()
def _score(module: nn.Module, examples: Examples, totals: Tensor) -> None:
    """Add the losses and the number of right answers, as prediction gives them, to the first two of `totals`."""
    module.eval()
    for block in _blocks(module, examples[0], len(examples[1])):
        images, labels = (values[block] for values in examples)
        logits = module(images)
        _count(totals, cross_entropy(logits, labels, reduction="sum"), logits, labels)
    module.train()


def _count(totals: Tensor, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
    totals[0] += loss
    totals[1] += (logits.detach().argmax(dim=1) == labels).sum()


def _blocks(module: nn.Module, images: Tensor, count: int) -> list[slice]:
    """Cut rows into blocks of about one length; no rows make one block of none, which has a gradient too."""
    outputs = 0
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            outputs += layer.out_features
        elif isinstance(layer, nn.Conv2d):
            outputs += layer.out_channels * images.shape[1]
    blocks = -(-count * outputs // BLOCK_OUTPUTS[images.device.type])
    blocks = max(1, min(blocks, count))
    stops = [count * i // blocks for i in range(blocks + 1)]
    return [slice(*block) for block in pairwise(stops)]
