"""Train the network with the gradients derived by hand, in NumPy."""

import argparse
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence

if __name__ == "__main__":  # Ctrl-C while the rest is imported: there is nothing to save yet
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))

from manual_backprop.arrays import Array
from manual_backprop.data.datasets import Dataset, Split
from manual_backprop.networks.mlp import MLP
from manual_backprop.optimizers import Momentum
from manual_backprop.runs.command import main
from manual_backprop.runs.folder import Checkpoint, State
from manual_backprop.runs.options import make_parser
from manual_backprop.training import evaluate, train_epochs


class NumpyTrainer:
    """The hand-derived side."""

    def __init__(self, options: argparse.Namespace, dataset: Dataset, mlp: MLP, checkpoint: Checkpoint | None) -> None:
        self.options, self.dataset, self.mlp = options, dataset, mlp
        self.optimizer = Momentum(mlp.parameters, options.learning_rate, options.momentum)
        if checkpoint is not None:
            for kind, values in self.state().items():
                for name, value in values.items():
                    value[...] = checkpoint.state[kind][name]
            self.optimizer.steps = checkpoint.steps

    def epochs(self, numbers: range) -> Iterator[Sequence[tuple[float, float, float, float]]]:
        """Train these epochs and yield the ``Metrics`` of each."""
        epochs = train_epochs(
            self.mlp, self.optimizer, self.dataset, numbers, self.options.batch_size, self.options.seed
        )
        return ([metrics] for metrics in epochs)

    def evaluate(self, split: Split) -> tuple[float, float]:
        """Return mean loss and accuracy."""
        return evaluate(self.mlp, split)

    def parameters(self) -> Mapping[str, Array]:
        """Return the weights as (in, out) and the biases."""
        return self.mlp.parameters

    def state(self) -> State:
        """Return the parameters and what the optimizer remembers of them."""
        return {"parameters": self.mlp.parameters, **self.optimizer.state}

    def steps(self) -> int:
        """Return how many updates the optimizer has made."""
        return self.optimizer.steps


if __name__ == "__main__":
    sys.exit(main(make_parser("numpy", "Train with the gradients derived by hand, in NumPy."), NumpyTrainer))
