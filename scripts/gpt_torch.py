"""Train the equivalent GPT in PyTorch: on the CPU, with --cuda on a GPU."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence

if __name__ == "__main__":  # Ctrl-C while the rest is imported: there is nothing to save yet
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))

from manual_backprop.arrays import Array
from manual_backprop.data.texts.characters import Tokens
from manual_backprop.networks import GPT
from manual_backprop.runs.folder import State
from manual_backprop.runs.gpt.command import Windows, main
from manual_backprop.runs.gpt.options import BETAS, MAX_NORM, WEIGHT_DECAY, make_parser

try:
    import torch
except ModuleNotFoundError:
    print("error: PyTorch is not installed; pip install '.[torch]' brings it", file=sys.stderr)
    sys.exit(2)

from torch_reference.gpt_training import GPTSteps
from torch_reference.memory import memory_errors
from torch_reference.networks import ReferenceGPT


class TorchTrainer:
    """PyTorch's side."""

    def __init__(self, options: argparse.Namespace, gpt: GPT) -> None:
        if options.cuda and not torch.cuda.is_available():
            raise ValueError("--cuda: PyTorch finds no CUDA device here; leave the option out to train on the CPU")
        self.shape = gpt.shape
        with memory_errors():
            self.module = ReferenceGPT.from_manual(gpt).to("cuda" if options.cuda else "cpu")
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


if __name__ == "__main__":
    parser = make_parser("torch", "Train the equivalent GPT in PyTorch.")
    parser.add_argument("--cuda", action="store_true", help="train on a CUDA device")
    sys.exit(main(parser, TorchTrainer))
