"""The convolutional network at its defaults: this project, PyTorch, and the bare matrix products.

All of them do the same: an update by Adam for each batch of 32, loss and accuracy on the training examples as they
pass, and on the validation set with the weights before the last update.
"""

from functools import partial

import numpy as np
from benchmarks.contestants import CLASSES, Epoch, Problem
from benchmarks.turns import Prepare

FILTERS, WINDOWS, HIDDEN, PIXELS = 32, 14 * 14, 784, 28 * 28
BATCH_SIZE, EVALUATION_ROWS, LEARNING_RATE = 32, 256, 1e-4


def contestants(problem: Problem) -> dict[str, Prepare]:
    """Return who takes part."""
    return {
        "matrix products alone": partial(products, problem),
        "this project": partial(ours, problem),
        "PyTorch": partial(pytorch, problem),
        "torch.compile": partial(pytorch, problem, compiled=True),
    }


def ours(problem: Problem) -> Epoch:
    """Train as `scripts/train_numpy.py --network cnn` does."""
    from manual_backprop import Adam
    from manual_backprop.networks import CNN
    from manual_backprop.training import train_epochs

    cnn = CNN.xavier(dtype=problem.dtype)
    optimizer = Adam(cnn.parameters, LEARNING_RATE)
    epochs = train_epochs(cnn, optimizer, problem.dataset(), range(10**6), problem.batch_size)
    return lambda: next(epochs)


def pytorch(problem: Problem, compiled: bool = False) -> Epoch:
    """Train the same network of `torch.nn` with fused Adam."""
    import torch
    from torch.nn.functional import cross_entropy

    from torch_reference.networks import ReferenceCNN

    x, labels, valid_x, valid_labels = (torch.from_numpy(part) for part in problem.floats())
    module = ReferenceCNN()
    optimizer = torch.optim.Adam(module.parameters(), LEARNING_RATE, fused=True)
    forward = torch.compile(module) if compiled else module
    rng = np.random.default_rng(0)

    def score(inputs: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logits = forward(inputs)
        return cross_entropy(logits, targets), (logits.argmax(dim=1) == targets).sum()

    @torch.no_grad()
    def validate() -> None:
        module.eval()
        for start in range(0, len(valid_x), EVALUATION_ROWS):
            rows = slice(start, start + EVALUATION_ROWS)
            [value.item() for value in score(valid_x[rows], valid_labels[rows])]
        module.train()

    def epoch() -> None:
        batches = problem.batches(rng)
        for number, rows in enumerate(batches, start=1):
            if number == len(batches):
                validate()
            optimizer.zero_grad()
            loss, correct = score(x[rows], labels[rows])
            loss.backward()
            optimizer.step()
            loss.item(), correct.item()

    return epoch


def products(problem: Problem) -> Epoch:
    """Multiply the matrices of an epoch and do nothing else, each product on all threads of BLAS."""
    rng = np.random.default_rng(0)

    def random(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(problem.dtype)

    kernel, weight, output = random(FILTERS, 9), random(FILTERS * WINDOWS, HIDDEN), random(HIDDEN, CLASSES)
    grad_weight = np.empty_like(weight)

    def forward(count: int) -> None:
        np.matmul(kernel, patches[:, : count * PIXELS], out=maps[:, : count * PIXELS])
        np.matmul(features[:count], weight, out=hidden[:count])
        np.matmul(hidden[:count], output, out=logits[:count])

    rows = max(BATCH_SIZE, EVALUATION_ROWS)
    patches, maps = random(9, rows * PIXELS), random(FILTERS, rows * PIXELS)
    features, hidden, logits = random(rows, FILTERS * WINDOWS), random(rows, HIDDEN), random(rows, CLASSES)

    def epoch() -> None:
        for batch in problem.batches(rng):
            n = len(range(problem.train_count)[batch]) if isinstance(batch, slice) else len(batch)
            forward(n)
            hidden[:n].T @ logits[:n]
            logits[:n] @ output.T
            np.matmul(features[:n].T, hidden[:n], out=grad_weight)
            hidden[:n] @ weight.T
            maps[:, : n * PIXELS] @ patches[:, : n * PIXELS].T
        for start in range(0, problem.valid_count, EVALUATION_ROWS):
            forward(min(EVALUATION_ROWS, problem.valid_count - start))

    return epoch
