"""Train the equivalent PyTorch network: on the CPU, with --cuda on a GPU, under torchrun in several processes."""

import argparse
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

if __name__ == "__main__":  # Ctrl-C while the rest is imported: there is nothing to save yet
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))

from manual_backprop.arrays import Array
from manual_backprop.data.datasets import Dataset, Split, load_dataset
from manual_backprop.networks.mlp import MLP
from manual_backprop.runs.command import main
from manual_backprop.runs.folder import Checkpoint, State
from manual_backprop.runs.options import make_parser
from manual_backprop.training import epoch_batches

try:
    import torch
except ModuleNotFoundError:
    print("error: PyTorch is not installed; pip install '.[torch]' brings it", file=sys.stderr)
    sys.exit(2)

from torch_reference.networks.mlp import ReferenceMLP
from torch_reference.optimizer import matched_sgd
from torch_reference.sharding import LostProcessError, Shards, process_group
from torch_reference.training import evaluate, to_examples, train_epochs


class TorchTrainer:
    """PyTorch's side; in each process of a ``torchrun`` the same network, and some of the rows."""

    def __init__(self, options: argparse.Namespace, dataset: Dataset, mlp: MLP, checkpoint: Checkpoint | None) -> None:
        self.options, self.dataset, self.shards = options, dataset, Shards()
        if options.tf32:
            torch.set_float32_matmul_precision("high")
        device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if options.cuda else "cpu"
        if checkpoint is not None:
            mlp = MLP(checkpoint.state["parameters"])
        self.module = ReferenceMLP.from_manual(mlp).to(device)
        self.optimizer = matched_sgd(self.module, options.learning_rate, options.momentum)
        if checkpoint is not None:
            for name, buffer in self._buffers().items():
                buffer.copy_(torch.from_numpy(checkpoint.state["velocity"][name].T))
        self.shards.broadcast([*(value.data for value in self.module.parameters()), *self._buffers().values()])

    def epochs(self, numbers: range) -> Iterator[Sequence[tuple[float, float, float, float]]]:
        """Train these epochs, or those that process 0 names, and yield the ``Metrics`` of each."""
        numbers = self.shards.broadcast_object(numbers)
        train, valid = self._examples(self.dataset.train), self._examples(self.dataset.valid)
        batches = partial(epoch_batches, len(self.dataset.train), self.options.batch_size, self.options.seed)
        return train_epochs(self.module, self.optimizer, train, valid, numbers, batches)

    def evaluate(self, split: Split) -> tuple[float, float]:
        """Return mean loss and accuracy."""
        return evaluate(self.module, self._examples(split))

    def parameters(self) -> Mapping[str, Array]:
        """Return the weights as (in, out) and the biases."""
        return self.module.to_manual()

    def state(self) -> State:
        """Return the parameters, and the velocity as PyTorch's SGD keeps it, divided by the learning rate."""
        velocity = {name: buffer.cpu().numpy().T for name, buffer in self._buffers().items()}
        return {"parameters": self.parameters(), "velocity": velocity}

    def steps(self) -> int:
        """Return 0: PyTorch's SGD does not count its updates."""
        return 0

    def _buffers(self) -> dict[str, torch.Tensor]:
        return {name: self.optimizer.state[value]["momentum_buffer"] for name, value in self.module.named_parameters()}

    def _examples(self, split: Split) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the rows of this process; of a memory-mapped file no others are read."""
        rows = self.shards.rows(len(split))
        return to_examples(split.images[rows], split.labels[rows], like=next(self.module.parameters()))


def lead(options: argparse.Namespace, dataset: Dataset, mlp: MLP, checkpoint: Checkpoint | None) -> TorchTrainer:
    """Make the trainer of the process that runs the command, and let the other ones make theirs."""
    if options.cuda and not torch.cuda.is_available():
        raise ValueError("--cuda: PyTorch finds no CUDA device here; leave the option out to train on the CPU")
    if options.tf32 and not (options.cuda and options.dtype == "float32"):
        raise ValueError("--tf32: is for products of float32 on a GPU; give it with --cuda and --dtype float32")
    Shards().broadcast_object(options)
    return TorchTrainer(options, dataset, mlp, checkpoint)


def follow() -> int:
    """Do what process 0 asks for, as long as it does, and return the exit status."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # process 0 takes note of them
    shards = Shards()
    try:
        options = shards.broadcast_object(None)
        dataset = load_dataset(options.data, options.split)
        sizes = [dataset.features, *options.hidden, dataset.classes]
        trainer = TorchTrainer(options, dataset, MLP.xavier(sizes, options.seed, options.dtype), None)
        for _ in trainer.epochs(range(0)):
            pass
        for split in (dataset.train, dataset.valid, dataset.test):
            trainer.evaluate(split)
        shards.wait_for_leader()
    except LostProcessError:
        return 2
    except (ValueError, OSError, MemoryError) as error:
        print(f"error: process {shards.number} of {shards.count}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    parser = make_parser("torch", "Train the equivalent PyTorch network.")
    parser.add_argument("--cuda", action="store_true", help="train on a CUDA device")
    parser.add_argument(
        "--tf32", action="store_true", help="on it, round factors of products to 11 bits: faster, and off by some 1e-4"
    )
    with process_group():
        status = follow() if Shards().number > 0 else main(parser, lead)
    sys.exit(status)
