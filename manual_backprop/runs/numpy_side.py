"""The training command of the hand-derived side; `scripts/train_numpy.py` and `manual-backprop train` run it."""

import argparse
from collections.abc import Iterator, Sequence

from manual_backprop.data.datasets import Dataset, Split
from manual_backprop.networks import Classifier
from manual_backprop.optimizers import Adam, AdamW, Momentum, Optimizer
from manual_backprop.runs.command import main as run
from manual_backprop.runs.configuration import Configuration, initial_network, network_bytes
from manual_backprop.runs.folder import State
from manual_backprop.runs.options import make_parser
from manual_backprop.runs.process import check_memory
from manual_backprop.training import evaluate, train_epochs


class NumpyTrainer:
    """The hand-derived side."""

    def __init__(self, options: argparse.Namespace, configuration: Configuration, dataset: Dataset) -> None:
        check_memory(network_bytes(configuration))
        self.options, self.dataset = options, dataset
        self._network = initial_network(configuration)
        self.optimizer = make_optimizer(options, self._network)

    def epochs(self, numbers: range) -> Iterator[Sequence[tuple[float, float, float, float]]]:
        """Train these epochs and yield the `Metrics` of each."""
        options = self.options
        epochs = train_epochs(self._network, self.optimizer, self.dataset, numbers, options.batch_size, options.seed)
        return ([metrics] for metrics in epochs)

    def evaluate(self, split: Split) -> tuple[float, float]:
        """Return mean loss and accuracy."""
        return evaluate(self._network, split)

    def network(self) -> Classifier:
        """Return the network, which training changes."""
        return self._network

    def state(self) -> State:
        """Return parameters and buffers, and what the optimizer remembers of them."""
        return {"parameters": self._network.parameters, "buffers": self._network.buffers, **self.optimizer.state}

    def steps(self) -> int:
        """Return how many updates the optimizer has made."""
        return self.optimizer.steps

    def load(self, state: State, steps: int) -> None:
        """Go on from what `state` and `steps` returned."""
        for kind, values in self.state().items():
            for name, value in values.items():
                value[...] = state[kind][name]
        self.optimizer.steps = steps


def make_optimizer(options: argparse.Namespace, network: Classifier) -> Optimizer:
    """Return the optimizer that the options name."""
    if options.optimizer == "momentum":
        return Momentum(network.parameters, options.learning_rate, options.momentum)
    kind = {"adam": Adam, "adamw": AdamW}[options.optimizer]
    return kind(network.parameters, options.learning_rate, weight_decay=options.weight_decay)


def main() -> int:
    """Run the command and return its exit status."""
    return run(make_parser("numpy", "Train with the gradients derived by hand, in NumPy."), NumpyTrainer)
