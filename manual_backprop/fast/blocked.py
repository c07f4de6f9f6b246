"""The gradient of ``MLP.backprop``, a block of rows at a time, on all cores: fast, in memory that stays flat."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from manual_backprop.arrays import Array
from manual_backprop.data.datasets import Split
from manual_backprop.fast.in_place import BlockScore, GradientArrays, InPlaceBackprop
from manual_backprop.fast.workers import Workers
from manual_backprop.networks.mlp import MLP

# Multiplications that a block is worth at least. With fewer, as in a minibatch of 128 rows, BLAS's own threads are
# faster than ours, since they do not take turns with Python's lock.
SMALLEST_WORK = 100_000_000
# A larger set is cut into so many blocks at least, that as many workers find something to do ...
FEWEST_BLOCKS = 8
# ... and into blocks of so many rows at most. Longer ones are hardly faster; short ones of validation, which are the
# last, leave little waiting at the end.
LONGEST_BATCH_BLOCK = 1250
LONGEST_VALIDATION_BLOCK = 500
# Blocks 0, 4, 8, ... are added up in that order, 1, 5, 9, ... in another array, and so on; then the four sums. A fixed
# order makes the same bits however many workers there are, and with four sums hardly anyone waits for a slower one.
SUMS = 4


class Score(NamedTuple):
    """Mean loss and accuracy on a set; NaN for an empty one."""

    loss: float
    accuracy: float


class BlockedBackprop:
    """Scores and gradients of one network, over and over, as a training loop needs them.

    The rows are cut into blocks, by the sizes of the network and the set alone. Workers take one block after the other
    through the whole network, while it is near in their caches, and add up the blocks' gradients in a fixed order: the
    same bits come out whatever the number of workers. The arithmetic is in ``InPlaceBackprop``. A batch that is too
    small to share out is left to BLAS's own threads; there the last bits may depend on how many those are.

    Memory is that of one block for each worker, whatever the number of images.

    Parameters
    ----------
    mlp : the network; every call uses the weights as they then are
    workers : number of threads; by default as many as ``Workers`` finds right for the machine
    block_rows : the most rows of a block; by default it follows from the sizes
    """

    def __init__(self, mlp: MLP, workers: int | None = None, block_rows: int | None = None) -> None:
        self._mlp = mlp
        self._features = mlp.sizes[0]
        self._work_per_row = sum(value.size for value in mlp.parameters.values())
        self._workers = Workers(workers)
        self._block_rows = block_rows
        self._per_worker: list[InPlaceBackprop | None] = [None] * self._workers.count
        self._sums = [GradientArrays(mlp) for _ in range(SUMS)]

    def backprop(
        self, train: Split, rows: NDArray[np.integer] | None = None, valid: Split | None = None
    ) -> tuple[Score, dict[str, Array], Score]:
        """Return score and gradient on a batch, and the score of the same weights on a validation set.

        Parameters
        ----------
        train : images (N, F) as ``MLP.backprop`` takes them, integer labels (N,)
        rows : integers (B,), optional
            Which examples are the batch; by default all.
        valid : a validation set, optional

        Returns
        -------
        training : Score
        gradients : dict with the keys and shapes of ``parameters``
            The next call writes into the same arrays.
        validation : Score

        Raises
        ------
        ValueError
            If the batch is empty, or images or labels do not fit the network.
        """
        count = len(train) if rows is None else len(rows)
        if count == 0:
            raise ValueError("batch: expected at least one example, got none")
        train.check(self._features)
        batch = self._cut(count, LONGEST_BATCH_BLOCK)
        if len(batch) == 1 and valid is not None:
            training, gradients, _ = self.backprop(train, rows)
            # BLAS's threads wait for more work at full speed; ours would share the cores with them
            return training, gradients, self._evaluate(valid, shared=False)
        tasks: list[tuple[Split, slice | NDArray[np.integer]]] = [
            (train, block if rows is None else rows[block]) for block in batch
        ]
        if valid is not None:
            valid.check(self._features)
            tasks += [(valid, block) for block in self._cut(len(valid), LONGEST_VALIDATION_BLOCK)]

        def task(number: int, worker: int) -> BlockScore:
            block = self._in_place(worker)
            score = block.forward(*tasks[number])
            if number < SUMS and number < len(batch):
                block.backward(count, self._sums[number])
            elif number < len(batch):
                block.backward(count, block.gradients)
                self._workers.wait_for(number - SUMS)
                self._sums[number % SUMS].vector += block.gradients.vector
            return score

        scores = self._run(task, len(tasks), shared=True)
        total, *others = self._sums[: len(batch)]
        for other in others:
            total.vector += other.vector
        return mean_score(scores[: len(batch)]), total.arrays, mean_score(scores[len(batch) :])

    def evaluate(self, split: Split) -> Score:
        """Return the score on a set.

        Raises
        ------
        ValueError
            If images or labels do not fit the network.
        """
        return self._evaluate(split, shared=True)

    def _evaluate(self, split: Split, shared: bool) -> Score:
        split.check(self._features)
        blocks = self._cut(len(split), LONGEST_VALIDATION_BLOCK)

        def task(number: int, worker: int) -> BlockScore:
            return self._in_place(worker).forward(split, blocks[number])

        return mean_score(self._run(task, len(blocks), shared))

    def _run(self, task: Callable[[int, int], BlockScore], count: int, shared: bool) -> list[BlockScore]:
        """Run the tasks on all workers; one alone, or those not to be shared, with BLAS's own threads."""

        def quiet(number: int, worker: int) -> BlockScore:
            # a diverging network shows in its loss; warnings from every block would only repeat it
            with np.errstate(over="ignore", invalid="ignore"):
                return task(number, worker)

        if shared and count > 1:
            return self._workers.run(quiet, count)
        return [quiet(number, 0) for number in range(count)]

    def _cut(self, count: int, longest: int) -> list[slice]:
        """Cut ``count`` rows into blocks whose lengths differ by one row at most."""
        if count == 0:
            return []
        if self._block_rows is not None:
            blocks = math.ceil(count / self._block_rows)
        else:
            worthwhile = count * self._work_per_row // SMALLEST_WORK
            blocks = max(1, math.ceil(count / longest), min(worthwhile, FEWEST_BLOCKS))
            if blocks > 2:  # equal shares for two and for four workers
                blocks = math.ceil(blocks / 4) * 4
        stops = [count * i // blocks for i in range(blocks + 1)]
        return [slice(*block) for block in pairwise(stops)]

    def _in_place(self, worker: int) -> InPlaceBackprop:
        arrays = self._per_worker[worker]
        if arrays is None:
            arrays = InPlaceBackprop(self._mlp, self._block_rows or LONGEST_BATCH_BLOCK)
            self._per_worker[worker] = arrays
        return arrays


def mean_score(scores: Sequence[BlockScore]) -> Score:
    """Return the mean over all examples of the blocks."""
    examples = sum(score.examples for score in scores)
    if examples == 0:
        return Score(math.nan, math.nan)
    return Score(
        math.fsum(score.loss for score in scores) / examples, sum(score.correct for score in scores) / examples
    )
