"""The gradient of `MLP.backprop`, a block of rows at a time, on all cores: fast, in memory that stays flat."""

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np

from manual_backprop.arrays import Array, Keep, Rows, rows_in
from manual_backprop.data.datasets import Split
from manual_backprop.fast.in_place import GradientArrays, InPlaceBackprop
from manual_backprop.fast.workers import Workers
from manual_backprop.networks.mlp import MLP
from manual_backprop.scores import Score, Sums, mean_score

# Multiplications that a block is worth at least. With fewer, as in a minibatch of 128 rows, BLAS's own threads are
# faster than ours, since they do not take turns with Python's lock.
SMALLEST_WORK = 100_000_000
# A larger set is cut into this many blocks or more, so that as many workers have something to do ...
FEWEST_BLOCKS = 8
# ... and into blocks of this many rows or fewer. Longer ones are hardly faster; short ones of validation, which are the
# last, leave little waiting at the end.
LONGEST_BATCH_BLOCK = 1250
LONGEST_VALIDATION_BLOCK = 500
# Blocks 0, 4, 8, ... are added up in that order, 1, 5, 9, ... in another array, and so on; then the four sums. A fixed
# order makes the same bits however many workers there are, and with four sums hardly anyone waits for a slower one.
SUMS = 4


class BlockedBackprop:
    """Scores and gradients of one network, over and over, as a training loop needs them.

    The rows are cut into blocks, by the sizes of the network and the set alone. Workers take one block after the other
    through the whole network, while it is near in their caches, and add up the blocks' gradients in a fixed order: the
    same bits come out whatever the number of workers. The arithmetic is in `InPlaceBackprop`. A batch that is too
    small to share out is left to BLAS's own threads; there the last bits may depend on how many those are.

    Memory is that of one block for each worker, whatever the number of images.

    Parameters
    ----------
    mlp : the network; every call uses the weights as they then are
    workers : number of threads; by default as many as `Workers` finds right for the machine
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
        self, train: Split, rows: Rows = slice(None), valid: Split | None = None, keep: Keep = None
    ) -> tuple[list[Sums], dict[str, Array], list[Sums]]:
        """Return score and gradient on a batch, and the score of the same weights on a validation set.

        Parameters
        ----------
        train : images (N, F) as `MLP.backprop` takes them, integer labels (N,)
        rows : which examples are the batch, B of them
        valid : a validation set, optional
        keep : bool (B, H), which hidden units are kept

        Returns
        -------
        training : list of Sums
        gradients : dict with the keys and shapes of `parameters`
            The next call writes into the same arrays.
        validation : list of Sums

        Raises
        ------
        ValueError
            If the batch is empty, or images or labels do not fit the network.
        """
        count = rows_in(rows, len(train))
        if count == 0:
            raise ValueError("batch: expected at least one example, got none")
        train.check(self._features)
        batch = self._cut(count, LONGEST_BATCH_BLOCK)
        if len(batch) == 1 and valid is not None:
            training, gradients, _ = self.backprop(train, rows, keep=keep)
            # BLAS's threads wait for more work at full speed; ours would share the cores with them
            return training, gradients, self._score(valid, shared=False)
        tasks: list[tuple[Split, Rows, Keep]] = [
            (train, part_of(rows, len(train), block), None if keep is None else keep[block]) for block in batch
        ]
        if valid is not None:
            valid.check(self._features)
            tasks += [(valid, block, None) for block in self._cut(len(valid), LONGEST_VALIDATION_BLOCK)]

        def task(number: int, worker: int) -> Sums:
            block = self._in_place(worker)
            score, kept = block.forward(*tasks[number])
            if number < SUMS and number < len(batch):
                block.backward(kept, count, self._sums[number])
            elif number < len(batch):
                block.backward(kept, count, block.gradients)
                self._workers.wait_for(number - SUMS)
                self._sums[number % SUMS].vector += block.gradients.vector
            return score

        scores = self._run(task, len(tasks), shared=True)
        total, *others = self._sums[: len(batch)]
        for other in others:
            total.vector += other.vector
        return scores[: len(batch)], total.arrays, scores[len(batch) :]

    def evaluate(self, split: Split) -> Score:
        """Return the score on a set.

        Raises
        ------
        ValueError
            If images or labels do not fit the network.
        """
        return mean_score(self._score(split, shared=True))

    def _score(self, split: Split, shared: bool) -> list[Sums]:
        split.check(self._features)
        blocks = self._cut(len(split), LONGEST_VALIDATION_BLOCK)

        def task(number: int, worker: int) -> Sums:
            score, _ = self._in_place(worker).forward(split, blocks[number])
            return score

        return self._run(task, len(blocks), shared)

    def _run(self, task: Callable[[int, int], Sums], count: int, shared: bool) -> list[Sums]:
        """Run the tasks on all workers; one alone, or those not to be shared, with BLAS's own threads."""

        def quiet(number: int, worker: int) -> Sums:
            # a diverging network shows in its loss; warnings from every block would only repeat it
            with np.errstate(over="ignore", invalid="ignore"):
                return task(number, worker)

        if shared and count > 1:
            return self._workers.run(quiet, count)
        return [quiet(number, 0) for number in range(count)]

    def _cut(self, count: int, longest: int) -> list[slice]:
        """Cut `count` rows into blocks whose lengths differ by one row at most."""
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


def part_of(rows: Rows, count: int, block: slice) -> Rows:
    """Return the rows of a set of `count` that a block of a batch holds."""
    if not isinstance(rows, slice):
        return rows[block]
    part = range(count)[rows][block]
    return slice(part.start, part.stop if part.stop >= 0 else None, part.step)
