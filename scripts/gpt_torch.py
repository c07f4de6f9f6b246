"""Train the equivalent GPT in PyTorch: on the CPU, with --cuda on a GPU, under torchrun in several processes."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

if __name__ == "__main__":  # Ctrl-C while the rest is imported: there is nothing to save yet
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))

from manual_backprop.arrays import Array
from manual_backprop.data.texts.characters import Tokens
from manual_backprop.networks import GPT, GPTShape
from manual_backprop.runs.folder import State
from manual_backprop.runs.gpt.command import Windows, main
from manual_backprop.runs.gpt.options import BETAS, MAX_NORM, WEIGHT_DECAY, make_parser
from manual_backprop.runs.interruption import ignore_signals

try:
    import torch
except ModuleNotFoundError:
    print("error: PyTorch is not installed; pip install '.[torch]' brings it", file=sys.stderr)
    sys.exit(2)

from torch_reference.gpt_training import GPTSteps
from torch_reference.memory import memory_errors
from torch_reference.networks import ReferenceGPT
from torch_reference.sharding import LostProcessError, Shards, process_group


class TorchTrainer:
    """PyTorch's side; in each process of a `torchrun` the same network, and some windows of each batch."""

    def __init__(self, options: argparse.Namespace, gpt: GPT) -> None:
        self.shape = gpt.shape
        device = f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if options.cuda else "cpu"
        with memory_errors():
            self.module = ReferenceGPT.from_manual(gpt).to(device)
            self.steps = GPTSteps(self.module, options.learning_rate, BETAS, WEIGHT_DECAY, MAX_NORM)

    def train(self, batches: Sequence[Windows], learning_rates: Sequence[float]) -> Sequence[float]:
        """Make a step for each batch; return the losses before them."""
        with memory_errors():
            return self.steps.train(batches, learning_rates)

    def loss(self, windows: Windows) -> float:
        """Return the mean loss of many windows."""
        with memory_errors():
            return self.steps.loss(*windows)

    def logits(self, tokens: Tokens) -> Array:
        """Return the logits (N, T, V) of tokens (N, T)."""
        with memory_errors(), torch.no_grad():
            return self.module(self.steps.to_device(tokens)).cpu().numpy()

    def network(self) -> GPT:
        """Return a copy of the network, hand-derived."""
        return GPT(self.shape, self.module.to_manual())

    def state(self) -> State:
        """Return all arrays that training depends on."""
        return {"parameters": self.module.to_manual(), **self.steps.moments()}

    def load(self, state: State, steps: int) -> None:
        """Go on from what `state` returned after so many steps."""
        self.module.load_state_dict(ReferenceGPT.from_manual(GPT(self.shape, state["parameters"])).state_dict())
        self.steps.load_moments(state, steps)


class LeadingTrainer(TorchTrainer):
    """The trainer of process 0, which has the others do what all of them must do together."""

    def __init__(self, options: argparse.Namespace, gpt: GPT) -> None:
        if options.cuda and not torch.cuda.is_available():
            raise ValueError("--cuda: PyTorch finds no CUDA device here; leave the option out to train on the CPU")
        self.shards = Shards()
        if options.batch_size < self.shards.count:
            raise ValueError(
                f"--batch-size: expected a window for each of {self.shards.count} processes, got {options.batch_size}"
            )
        self.shards.broadcast_object((options, gpt.shape))
        super().__init__(options, gpt)

    def train(self, batches: Sequence[Windows], learning_rates: Sequence[float]) -> Sequence[float]:
        """Make a step for each batch in every process."""
        self.shards.broadcast_object(("train", batches, learning_rates))
        return super().train(batches, learning_rates)

    def load(self, state: State, steps: int) -> None:
        """Go on in every process."""
        self.shards.broadcast_object(("load", state, steps))
        super().load(state, steps)


def lead(parser: argparse.ArgumentParser) -> int:
    """Run the command, let the other processes go, and return the exit status."""
    status = main(parser, LeadingTrainer)
    with suppress(LostProcessError):
        Shards().broadcast_object(None)
    return status


def follow() -> int:
    """Do what process 0 asks for, as long as it does, and return the exit status."""
    ignore_signals()  # process 0 takes note of them
    shards = Shards()
    try:
        begin: tuple[argparse.Namespace, GPTShape] | None = shards.broadcast_object(None)
        if begin is None:  # it has said why
            return 0
        options, shape = begin
        trainer = TorchTrainer(options, GPT.initial(shape, options.seed, options.dtype))
        call: tuple[str, Any, Any] | None
        while (call := shards.broadcast_object(None)) is not None:
            getattr(trainer, call[0])(*call[1:])
    except LostProcessError:
        return 2
    except (ValueError, OSError, MemoryError) as error:
        print(f"error: process {shards.number} of {shards.count}: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    parser = make_parser("torch", "Train the equivalent GPT in PyTorch.")
    parser.add_argument("--cuda", action="store_true", help="train on a CUDA device")
    with process_group():
        status = follow() if Shards().number > 0 else lead(parser)
    sys.exit(status)
