"""Train the equivalent PyTorch network, on the CPU or with --cuda on a GPU."""

import argparse
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from functools import partial

if __name__ == "__main__":  # Ctrl-C while the rest is imported: there is nothing to save yet
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))

from training_command import main
from training_options import make_parser

from manual_backprop.datasets import Dataset, Split
from manual_backprop.layers import Array
from manual_backprop.network import MLP
from manual_backprop.training import epoch_batches

try:
    import torch
except ModuleNotFoundError:
    print("error: PyTorch is not installed; pip install '.[torch]' brings it", file=sys.stderr)
    sys.exit(2)

from torch_reference.network import ReferenceMLP
from torch_reference.optimizer import matched_sgd
from torch_reference.training import evaluate, to_examples, train_epochs


class TorchTrainer:
    """PyTorch's side."""

    def __init__(
        self, options: argparse.Namespace, dataset: Dataset, mlp: MLP, velocity: Mapping[str, Array] | None
    ) -> None:
        if options.cuda and not torch.cuda.is_available():
            raise ValueError("--cuda: PyTorch finds no CUDA device here; leave the option out to train on the CPU")
        self.options, self.dataset = options, dataset
        self.module = ReferenceMLP.from_manual(mlp).to("cuda" if options.cuda else "cpu")
        self.optimizer = matched_sgd(self.module, options.learning_rate, options.momentum)
        if velocity is not None:
            for name, buffer in self._buffers().items():
                buffer.copy_(torch.from_numpy(velocity[name].T))

    def epochs(self, numbers: range) -> Iterator[tuple[float, float, float, float]]:
        """Train these epochs and yield the ``Metrics`` of each."""
        train, valid = self._examples(self.dataset.train), self._examples(self.dataset.valid)
        batches = partial(epoch_batches, len(self.dataset.train), self.options.batch_size, self.options.seed)
        return train_epochs(self.module, self.optimizer, train, valid, numbers, batches)

    def evaluate(self, split: Split) -> tuple[float, float]:
        """Return mean loss and accuracy."""
        return evaluate(self.module, self._examples(split))

    def parameters(self) -> Mapping[str, Array]:
        """Return the weights as (in, out) and the biases."""
        return self.module.to_manual()

    def velocity(self) -> Mapping[str, Array]:
        """Return the velocity as PyTorch's SGD keeps it, divided by the learning rate."""
        return {name: buffer.cpu().numpy().T for name, buffer in self._buffers().items()}

    def _buffers(self) -> dict[str, torch.Tensor]:
        return {name: self.optimizer.state[value]["momentum_buffer"] for name, value in self.module.named_parameters()}

    def _examples(self, split: Split) -> tuple[torch.Tensor, torch.Tensor]:
        return to_examples(split.images, split.labels, like=next(self.module.parameters()))


if __name__ == "__main__":
    parser = make_parser("torch", "Train the equivalent PyTorch network.")
    parser.add_argument("--cuda", action="store_true", help="train on a CUDA device")
    sys.exit(main(parser, TorchTrainer))
