"""Train the equivalent PyTorch network: on the CPU, with --cuda on a GPU, under torchrun in several processes."""

import argparse
import os
import signal
import sys
from collections.abc import Iterator, Sequence

if __name__ == "__main__":  # Ctrl-C while the rest is imported: there is nothing to save yet
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))

import numpy as np

from manual_backprop.arrays import rows_in
from manual_backprop.data.datasets import Dataset, Split, load_dataset
from manual_backprop.networks import CNN, MLP, Classifier
from manual_backprop.runs.command import main
from manual_backprop.runs.configuration import Configuration, initial_network, network_bytes
from manual_backprop.runs.folder import State
from manual_backprop.runs.interruption import ignore_signals
from manual_backprop.runs.options import make_parser
from manual_backprop.runs.process import check_memory
from manual_backprop.training import dropout_rng, epoch_batches

try:
    import torch
except ModuleNotFoundError:
    print("error: PyTorch is not installed; pip install '.[torch]' brings it", file=sys.stderr)
    sys.exit(2)

from torch_reference.memory import memory_errors
from torch_reference.networks import ReferenceCNN, ReferenceMLP
from torch_reference.optimizer import fused_adam, matched_sgd
from torch_reference.sharding import LostProcessError, Shards, process_group
from torch_reference.training import Batches, Examples, Masks, evaluate, to_examples, train_epochs


class TorchTrainer:
    """PyTorch's side; in each process of a `torchrun` the same network, and some of the rows."""

    def __init__(self, options: argparse.Namespace, configuration: Configuration, dataset: Dataset) -> None:
        self.options, self.dataset, self.shards = options, dataset, Shards()
        if options.tf32:
            torch.set_float32_matmul_precision("high")
        device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if options.cuda else "cpu"
        self.initial = initial_network(configuration)
        with memory_errors():
            self.module = reference(self.initial).to(device)
            self.optimizer = make_optimizer(options, self.module)

    def epochs(self, numbers: range) -> Iterator[Sequence[tuple[float, float, float, float]]]:
        """Train these epochs, or those that process 0 names, and yield the `Metrics` of each."""
        with memory_errors():
            tensors = [*self.module.state_dict().values(), *(value for kept in self._kept() for value in kept.values())]
            self.shards.broadcast(tensors)
            numbers = self.shards.broadcast_object(numbers)
            train, valid = self._examples(self.dataset.train), self._examples(self.dataset.valid)
            yield from train_epochs(self.module, self.optimizer, train, valid, numbers, self._batches, self._masks)

    def evaluate(self, split: Split) -> tuple[float, float]:
        """Return mean loss and accuracy."""
        with memory_errors():
            return evaluate(self.module, self._examples(split))

    def network(self) -> Classifier:
        """Return a copy of the network, hand-derived."""
        return type(self.initial)(self.module.to_manual())

    def state(self) -> State:
        """Return parameters and buffers, and what the optimizer keeps, as it keeps it."""
        network = self.network()
        names = [name for name, _ in self.module.named_parameters()]
        kept = {
            kind: {name: entry[kind].cpu().numpy() for name, entry in zip(names, self._kept(), strict=True)}
            for kind in self._kept()[0]
            if kind != "step"
        }
        return {"parameters": network.parameters, "buffers": network.buffers, **kept}

    def steps(self) -> int:
        """Return how many updates the optimizer has made; SGD does not count them."""
        return int(self._kept()[0].get("step", 0))

    def load(self, state: State, steps: int) -> None:
        """Go on from what `state` and `steps` returned."""
        network = type(self.initial)({**state["parameters"], **state["buffers"]})
        self.module.load_state_dict(reference(network).state_dict())
        for (name, _), entry in zip(self.module.named_parameters(), self._kept(), strict=True):
            for kind, tensor in entry.items():
                tensor.copy_(torch.tensor(steps if kind == "step" else state[kind][name]))

    def _kept(self) -> list[dict[str, torch.Tensor]]:
        """Return what the optimizer keeps of each parameter."""
        return [self.optimizer.state[value] for value in self.module.parameters()]

    def _batches(self, epoch: int) -> Batches:
        return epoch_batches(len(self.dataset.train), self.options.batch_size, self.options.seed, epoch)

    def _masks(self, epoch: int) -> Masks:
        rng, count = dropout_rng(self.options.seed, epoch), len(self.dataset.train)
        return (self.initial.draw_keep(rows_in(rows, count), rng) for rows in self._batches(epoch))

    def _examples(self, split: Split) -> Examples:
        """Return the rows of this process; of a memory-mapped file no others are read."""
        rows = self.shards.rows(len(split))
        return to_examples(split.images[rows], split.labels[rows], like=next(self.module.parameters()))


def reference(network: MLP | CNN) -> ReferenceMLP | ReferenceCNN:
    """Return the same network in PyTorch."""
    return ReferenceCNN.from_manual(network) if isinstance(network, CNN) else ReferenceMLP.from_manual(network)


def make_optimizer(options: argparse.Namespace, module: torch.nn.Module) -> torch.optim.Optimizer:
    """Return the optimizer that the options name."""
    if options.optimizer == "momentum":
        return matched_sgd(module, options.learning_rate, options.momentum)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[options.optimizer]
    return fused_adam(kind, module, options.learning_rate, options.weight_decay)


def lead(options: argparse.Namespace, configuration: Configuration, dataset: Dataset) -> TorchTrainer:
    """Make the trainer of the process that runs the command, and let the other ones make theirs."""
    if options.cuda and not torch.cuda.is_available():
        raise ValueError("--cuda: PyTorch finds no CUDA device here; leave the option out to train on the CPU")
    if options.tf32 and not (options.cuda and options.dtype == "float32"):
        raise ValueError("--tf32: is for products of float32 on a GPU; give it with --cuda and --dtype float32")
    shards = Shards()
    if options.network == "cnn" and shards.count > 1:
        raise ValueError("--network cnn: batch normalisation needs whole batches; train it in one process")
    check_memory(network_bytes(configuration) + image_bytes(options, dataset))
    shards.broadcast_object((options, configuration))
    return TorchTrainer(options, configuration, dataset)


def image_bytes(options: argparse.Namespace, dataset: Dataset) -> int:
    """Return what the images take on this machine, as numbers; on a GPU they lie in its own memory."""
    if options.cuda:
        return 0
    machines = int(os.environ.get("GROUP_WORLD_SIZE", 1))  # torchrun's: each has its share of the images
    return (len(dataset.train) + len(dataset.valid)) * dataset.features * np.dtype(options.dtype).itemsize // machines


def follow() -> int:
    """Do what process 0 asks for, as long as it does, and return the exit status."""
    ignore_signals()  # process 0 takes note of them
    shards = Shards()
    try:
        options, configuration = shards.broadcast_object(None)
        dataset = load_dataset(options.data, options.split)
        trainer = TorchTrainer(options, configuration, dataset)
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
