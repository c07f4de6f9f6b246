"""Training steps of a GPT on all cores: sequences are shared out among workers, then the parameters."""

import math
from collections.abc import Callable, Sequence
from itertools import groupby, pairwise
from typing import NamedTuple, TypeVar

import numpy as np

from manual_backprop.arrays import Array
from manual_backprop.fast.aligned import aligned_empty
from manual_backprop.fast.gpt.block import GPTBlock
from manual_backprop.fast.gpt.layers import Tokens
from manual_backprop.fast.workers import Workers
from manual_backprop.networks import GPT
from manual_backprop.optimizers import Adam

T = TypeVar("T")

# A batch is cut into a block for each worker, whose gradients are added up in their order, but into two at least: the
# same bits come out on one and on two cores.
FEWEST_BLOCKS = 2
# The most sequences of a block that is only scored.
UNTRAINED = 6
# Most entries of the parameters that one worker adds up and updates at a time.
PIECE = 131_072


class Batch(NamedTuple):
    """Tokens (N, T) and for each the token that follows it."""

    tokens: Tokens
    targets: Tokens


class SharedGPT:
    """Steps and losses of one network, over and over, as a training loop needs them.

    Each worker carries its sequences forward and backward while they are near in its caches. Then each adds up the
    gradients of all blocks for its pieces of the parameters and updates them. For that all parameters lie in one
    vector, and so do their gradients and each kind of the optimizer's state: a piece is as long as the cache likes.
    Nothing of a step's size is allocated in it.

    Parameters
    ----------
    gpt : the network; its parameters, and the optimizer's state, become views of the vectors
    optimizer : made of `gpt.parameters`
    max_norm : the norm to which a step's gradient is scaled down where it is longer
    workers : number of threads; by default as many as `Workers` finds right for the machine

    Raises
    ------
    ValueError
        If the network has an option, for which there is only the textbook form, or the optimizer other parameters.
    """

    def __init__(self, gpt: GPT, optimizer: Adam, max_norm: float = 1.0, workers: int | None = None) -> None:
        shape = gpt.shape
        if shape.rms_norm or shape.rotary or shape.swiglu or shape.key_heads != shape.heads:
            raise ValueError("the fast form knows no rms_norm, rotary, swiglu or grouped heads; use GPT.backprop")
        if optimizer.parameters is not gpt.parameters:
            raise ValueError("optimizer: expected one of gpt.parameters, which this one does not update")
        self._gpt, self._optimizer, self._max_norm = gpt, optimizer, max_norm
        self._workers = Workers(workers)
        self._blocks: list[dict[int, GPTBlock]] = [{} for _ in range(self._workers.count)]
        decay = optimizer.weight_decay
        self._names = sorted(gpt.parameters, key=decay.__getitem__)  # those that decay alike lie together
        self._parameters = self._as_vector(gpt.parameters)
        self._state = {kind: self._as_vector(arrays) for kind, arrays in optimizer.state.items()}
        self._gradients = [
            {name: np.zeros_like(value) for name, value in gpt.parameters.items()}
            for _ in range(max(FEWEST_BLOCKS, self._workers.count))
        ]
        self._gradient_vectors = [self._as_vector(arrays) for arrays in self._gradients]
        self._pieces: list[tuple[str, slice]] = []
        start = 0
        for _, group in groupby(self._names, decay.__getitem__):
            names = list(group)
            stop = start + sum(gpt.parameters[name].size for name in names)
            self._pieces += [(names[0], piece) for piece in _pieces(start, stop)]
            start = stop
        self._scratch = [optimizer.scratch(PIECE) for _ in range(self._workers.count)]

    def _as_vector(self, arrays: dict[str, Array]) -> Array:
        """Copy all arrays into one vector, put views of it in their places, and return it."""
        vector = aligned_empty(sum(value.size for value in arrays.values()), self._gpt.dtype)
        start = 0
        for name in self._names:
            value = arrays[name]
            arrays[name] = vector[start : start + value.size].reshape(value.shape)
            arrays[name][...] = value
            start += value.size
        return vector

    def train(self, batches: Sequence[Batch], learning_rates: Sequence[float]) -> list[float]:
        """Make one step for each batch, and return the mean loss of each before its step."""
        losses = [[0.0] * len(self._gradients) for _ in batches]
        squares = [0.0] * len(self._pieces)
        count = self._workers.count
        first_step = self._optimizer.steps + 1

        def task(worker: int, _: int) -> None:
            for number, (batch, learning_rate) in enumerate(zip(batches, learning_rates, strict=True)):
                blocks = _cut(batch, len(self._gradients))
                for i in range(worker, len(blocks), count):
                    losses[number][i] = self._backprop(worker, blocks[i], batch.tokens.size, self._gradients[i])
                self._workers.meet()
                for i in range(worker, len(self._pieces), count):
                    squares[i] = self._add_up(len(blocks), self._pieces[i][1])
                self._workers.meet()
                norm = math.sqrt(math.fsum(squares))
                factor = self._max_norm / (norm + 1e-6)  # as clip_grad_norm
                for i in range(worker, len(self._pieces), count):
                    self._update(worker, *self._pieces[i], factor, learning_rate, first_step + number)
                self._workers.meet()

        self._run(task, count)
        self._optimizer.steps += len(batches)
        return [math.fsum(losses[i]) / batches[i].tokens.size for i in range(len(batches))]

    def backprop(self, batch: Batch) -> tuple[float, dict[str, Array]]:
        """Return the mean loss and the gradient, which the next call overwrites: `GPT.backprop` in place."""
        blocks = _cut(batch, len(self._gradients))

        def task(number: int, worker: int) -> float:
            return self._backprop(worker, blocks[number], batch.tokens.size, self._gradients[number])

        losses = self._run(task, len(blocks))
        self._add_up(len(blocks), slice(None))
        return math.fsum(losses) / batch.tokens.size, self._gradients[0]

    def loss(self, batch: Batch) -> float:
        """Return the mean loss."""
        blocks = _cut(batch, math.ceil(len(batch.tokens) / UNTRAINED))

        def task(number: int, worker: int) -> float:
            return self._block(worker, blocks[number]).forward(*blocks[number])

        return math.fsum(self._run(task, len(blocks))) / batch.tokens.size

    def _run(self, task: Callable[[int, int], T], count: int) -> list[T]:
        """Run tasks on the workers; a diverging network shows in its loss, warnings would only repeat it."""

        def quiet(number: int, worker: int) -> T:
            with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
                return task(number, worker)

        return self._workers.run(quiet, count)

    def _backprop(self, worker: int, part: Batch, count: int, gradients: dict[str, Array]) -> float:
        block = self._block(worker, part)
        loss = block.forward(*part)
        block.backward(*part, count, gradients)
        return loss

    def _block(self, worker: int, part: Batch) -> GPTBlock:
        count = len(part.tokens)
        if count not in self._blocks[worker]:
            self._blocks[worker][count] = GPTBlock(self._gpt, count)
        return self._blocks[worker][count]

    def _add_up(self, count: int, piece: slice) -> float:
        """Add up a piece of the blocks' gradients, in the first of them, and return the sum of its squares."""
        total = self._gradient_vectors[0][piece]
        for vector in self._gradient_vectors[1:count]:
            total += vector[piece]
        return float(np.vdot(total, total))

    def _update(self, worker: int, name: str, piece: slice, factor: float, learning_rate: float, step: int) -> None:
        """Update a piece of the parameters, which all decay as `name` does."""
        gradient, optimizer = self._gradient_vectors[0][piece], self._optimizer
        if factor < 1:
            gradient *= factor
        state = {kind: vector[piece] for kind, vector in self._state.items()}
        optimizer.learning_rate = learning_rate
        optimizer.update(name, self._parameters[piece], gradient, state, step, self._scratch[worker])


def _pieces(start: int, stop: int) -> list[slice]:
    """Cut entries into an even number of equal pieces, so that two workers end at once."""
    count = 2 * math.ceil((stop - start) / (2 * PIECE))
    stops = [start + (stop - start) * i // count for i in range(count + 1)]
    return [slice(*pair) for pair in pairwise(stops)]


def _cut(batch: Batch, blocks: int) -> list[Batch]:
    """Cut a batch into blocks whose numbers of sequences differ by one at most."""
    count = len(batch.tokens)
    blocks = min(blocks, count)
    stops = [count * i // blocks for i in range(blocks + 1)]
    return [Batch(batch.tokens[start:stop], batch.targets[start:stop]) for start, stop in pairwise(stops)]
