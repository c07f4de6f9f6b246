"""The assignment's investigation: how many hidden units, and when to stop, as one table.

Every size is trained with the assignment's values. A row shows it after all epochs, and the row below with the weights
that had the least validation loss: where early stopping would have ended.
"""

import argparse
import sys
from collections.abc import Iterator
from typing import NamedTuple

from tqdm import tqdm

from manual_backprop import MLP, Dataset, Momentum, load_dataset
from manual_backprop.early_stopping import EarlyStopping
from manual_backprop.training import evaluate, train_epochs


class Row(NamedTuple):
    """A line of the table; accuracies and losses of the training, validation and test set."""

    hidden: int
    epoch: int
    accuracies: tuple[float, ...]
    losses: tuple[float, ...]

    def __str__(self) -> str:
        """Return the line."""
        return f"{self.hidden:6} {self.epoch:6}" + "".join(f"{value:11.4f}" for value in self.accuracies + self.losses)


def main(arguments: list[str] | None = None) -> int:
    """Train every size and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--data", default="glyphs", metavar="SOURCE", help="as for train_numpy.py (default: %(default)s)"
    )
    parser.add_argument("--split", nargs=3, type=int, metavar=("TRAIN", "VALID", "TEST"), help="sizes of the sets")
    parser.add_argument("--hidden", nargs="+", type=int, default=[100, 500, 2000], help="(default: 100 500 2000)")
    parser.add_argument("--epochs", type=int, default=200, help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="(default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        dataset = load_dataset(options.data, tuple(options.split) if options.split else None)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    names = [f"{kind} {name}" for kind in ("acc.", "loss") for name in ("train", "valid", "test")]
    print(f"{'hidden':>6} {'epoch':>6}" + "".join(f"{name:>11}" for name in names))
    for hidden in options.hidden:
        for row in investigate(dataset, hidden, options.epochs, options.seed):
            print(row, flush=True)
    return 0


def investigate(dataset: Dataset, hidden: int, epochs: int, seed: int) -> Iterator[Row]:
    """Train one size; yield its row after all epochs, and its row at the least validation loss."""
    mlp = MLP.xavier([dataset.features, hidden, dataset.classes], seed)
    stopping = EarlyStopping(mlp.parameters, patience=epochs)
    best = 0
    trained = train_epochs(mlp, Momentum(mlp.parameters), dataset, range(epochs), seed=seed)
    for epoch, _ in enumerate(tqdm(trained, total=epochs, unit="epoch", disable=None, leave=False), start=1):
        stopping.after(evaluate(mlp, dataset.valid).loss)
        best = epoch if stopping.waited == 0 else best
    yield measure(mlp, dataset, epochs)
    stopping.restore()
    yield measure(mlp, dataset, best)


def measure(mlp: MLP, dataset: Dataset, epoch: int) -> Row:
    """Return the row of a network as it is now."""
    scores = [evaluate(mlp, split) for split in (dataset.train, dataset.valid, dataset.test)]
    accuracies, losses = tuple(score.accuracy for score in scores), tuple(score.loss for score in scores)
    return Row(mlp.sizes[1], epoch, accuracies, losses)


if __name__ == "__main__":
    sys.exit(main())
