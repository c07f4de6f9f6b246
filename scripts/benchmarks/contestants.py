"""What the benchmark compares, as far as it needs no other library: the bound, this project, the report's algorithm.

Each function prepares one side and returns another that does an epoch of training: an update for each batch, loss and
accuracy on the training examples as they pass, and loss and accuracy on the validation set, with the weights before the
last update. Only this project starts from the pixels; the others get floats made beforehand.
"""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from manual_backprop.data.datasets import Dataset, Split

FEATURES, HIDDEN, CLASSES = 784, 1000, 10
LEARNING_RATE, MOMENTUM, INITIAL_VELOCITY = 1e-3, 0.9, 1e-5

Epoch = Callable[[], object]
Floats = NDArray[np.floating]
Labels = NDArray[np.int64]


@dataclass(frozen=True)
class Problem:
    """How much to train on, in which precision; random pixels and labels, since times do not depend on them."""

    dtype: str
    batch_size: int | None = None
    train_count: int = 10_000
    valid_count: int = 6_000

    def dataset(self) -> Dataset:
        """Return training and validation set as pixels."""
        rng = np.random.default_rng(0)
        train, valid, test = (
            Split(rng.integers(0, 256, (count, FEATURES), np.uint8), rng.integers(0, CLASSES, count))
            for count in (self.train_count, self.valid_count, 0)
        )
        return Dataset(train, valid, test, "random", tuple("ABCDEFGHIJ"), (28, 28))

    def floats(self) -> tuple[Floats, Labels, Floats, Labels]:
        """Return the images, as numbers in [0, 1], and the labels of both sets."""
        dataset = self.dataset()
        x, valid_x = (np.divide(split.images[:], 255, dtype=self.dtype) for split in (dataset.train, dataset.valid))
        return x, dataset.train.labels, valid_x, dataset.valid.labels

    def batches(self, rng: np.random.Generator) -> Sequence[slice | Labels]:
        """Return the examples of each batch of one epoch."""
        if self.batch_size is None:
            return [slice(None)]
        order = rng.permutation(self.train_count)
        return [order[start : start + self.batch_size] for start in range(0, self.train_count, self.batch_size)]


def ours(problem: Problem, workers: int | None = None) -> Epoch:
    """Train as `manual_backprop.train` does; the number of workers is that of BLAS."""
    from manual_backprop import MLP, Momentum
    from manual_backprop.training import train_epochs

    if workers is not None:
        threadpool_limits(workers, user_api="blas")
    mlp = MLP.xavier([FEATURES, HIDDEN, CLASSES], dtype=problem.dtype)
    optimizer = Momentum(mlp.parameters, LEARNING_RATE, MOMENTUM, INITIAL_VELOCITY)
    epochs = train_epochs(mlp, optimizer, problem.dataset(), range(10**6), problem.batch_size)
    return lambda: next(epochs)


def report(problem: Problem) -> Epoch:
    """Follow the report's algorithm step by step, in float64 and with the functions that it calls."""
    x, labels, valid_x, valid_labels = Problem("float64", None, problem.train_count, problem.valid_count).floats()
    y, valid_y = np.eye(CLASSES)[labels], np.eye(CLASSES)[valid_labels]
    rng = np.random.default_rng(0)
    shapes = [(FEATURES, HIDDEN), (1, HIDDEN), (HIDDEN, CLASSES), (1, CLASSES)]
    weights = [rng.normal(0, np.sqrt(2 / sum(shape)), shape) if shape[0] > 1 else np.zeros(shape) for shape in shapes]
    velocities = [np.full(shape, INITIAL_VELOCITY) for shape in shapes]

    def softmax(s: Floats) -> Floats:
        exponentials = np.exp(s - np.max(s, axis=1, keepdims=True))
        return exponentials / np.sum(exponentials, axis=1, keepdims=True)

    def forward(inputs: Floats, targets: Floats) -> tuple[Floats, Floats, float, float]:
        w_h, b_h, w_o, b_o = weights
        x_h = np.maximum(np.matmul(inputs, w_h) + b_h, 0)
        s_o = np.matmul(x_h, w_o) + b_o
        p = softmax(s_o)
        loss = (-1 / targets.shape[0]) * np.sum(targets * np.log(p))
        right = np.equal(np.argmax(p, axis=1), np.argmax(targets, axis=1))
        return x_h, s_o, float(loss), float(np.sum(right) / targets.shape[0])

    def epoch() -> None:
        x_h, s_o, _, _ = forward(x, y)
        forward(valid_x, valid_y)
        w_o = weights[2]
        grad_ce = (softmax(s_o) - y) / y.shape[0]
        gradients = [
            np.dot(np.transpose(x), np.where(x_h > 0, 1, 0) * np.matmul(grad_ce, np.transpose(w_o))),
            sum(np.where(x_h > 0, 1, 0) * np.dot(grad_ce, np.transpose(w_o))),  # Python's sum: row by row
            np.dot(np.transpose(x_h), grad_ce),
            np.transpose(sum(grad_ce)).reshape(1, CLASSES),
        ]
        for i, gradient in enumerate(gradients):
            velocities[i] = MOMENTUM * velocities[i] + LEARNING_RATE * gradient
            weights[i] = weights[i] - velocities[i]

    return epoch


def threaded_products(problem: Problem) -> Epoch:
    """Multiply the matrices of an epoch and do nothing else, each product on all threads of BLAS."""
    x, _, valid_x, _ = problem.floats()
    products = _Products(problem.dtype, max(problem.train_count, problem.valid_count))
    size = problem.batch_size or problem.train_count

    def epoch() -> None:
        for start in range(0, problem.train_count, size):
            products.train(x[start : start + size])
        products.valid(valid_x)

    return epoch


def block_products(problem: Problem, block_rows: int, workers: int = 2) -> Epoch:
    """Multiply the matrices of an epoch and do nothing else, block by block, on threads with one BLAS thread each."""
    x, _, valid_x, _ = problem.floats()
    each = [_Products(problem.dtype, block_rows) for _ in range(workers)]
    pool = ThreadPoolExecutor(workers)

    def work(products: "_Products", blocks: deque[tuple[bool, Floats]]) -> None:
        while blocks:
            try:
                training, rows = blocks.popleft()
            except IndexError:
                return
            (products.train if training else products.valid)(rows)

    def epoch() -> None:
        blocks = deque(
            (training, rows[start : start + block_rows])
            for training, rows in ((True, x), (False, valid_x))
            for start in range(0, len(rows), block_rows)
        )
        with threadpool_limits(1, user_api="blas"):
            for done in [pool.submit(work, products, blocks) for products in each]:
                done.result()

    return epoch


class _Products:
    """The products of up to `rows` examples, written into arrays that are made once."""

    def __init__(self, dtype: str, rows: int) -> None:
        rng = np.random.default_rng(0)
        self._w_h = (rng.normal(size=(FEATURES, HIDDEN)) / 30).astype(dtype)
        self._w_o = (rng.normal(size=(HIDDEN, CLASSES)) / 30).astype(dtype)
        self._hidden, self._grad_hidden = np.empty((rows, HIDDEN), dtype), np.empty((rows, HIDDEN), dtype)
        self._logits = np.empty((rows, CLASSES), dtype)
        self._grad_w_h = np.empty_like(self._w_h)
        self._grad_w_o = np.empty_like(self._w_o, order="F")  # the faster order for so few columns

    def valid(self, x: Floats) -> None:
        np.matmul(x, self._w_h, out=self._hidden[: len(x)])
        np.matmul(self._hidden[: len(x)], self._w_o, out=self._logits[: len(x)])

    def train(self, x: Floats) -> None:
        self.valid(x)
        hidden, logits, grad_hidden = (part[: len(x)] for part in (self._hidden, self._logits, self._grad_hidden))
        np.matmul(hidden.T, logits, out=self._grad_w_o)
        np.matmul(logits, self._w_o.T, out=grad_hidden)
        np.matmul(x.T, grad_hidden, out=self._grad_w_h)
