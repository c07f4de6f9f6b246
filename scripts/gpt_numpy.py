"""Train a GPT on a text with the gradients derived by hand, in NumPy."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence

if __name__ == "__main__":  # Ctrl-C while the rest is imported: there is nothing to save yet
    signal.signal(signal.SIGINT, lambda *_: os._exit(130))

from manual_backprop.arrays import Array
from manual_backprop.data.texts.characters import Tokens
from manual_backprop.fast.gpt.sharing import Batch, SharedGPT
from manual_backprop.networks import GPT
from manual_backprop.optimizers import AdamW
from manual_backprop.runs.folder import State
from manual_backprop.runs.gpt.command import Windows, main
from manual_backprop.runs.gpt.options import BETAS, MAX_NORM, decays, make_parser


class NumpyTrainer:
    """The hand-derived side."""

    def __init__(self, options: argparse.Namespace, gpt: GPT) -> None:
        self.gpt = gpt
        self.optimizer = AdamW(gpt.parameters, options.learning_rate, BETAS, weight_decay=decays(gpt.shape))
        self.fast = SharedGPT(gpt, self.optimizer, MAX_NORM)

    def train(self, batches: Sequence[Windows], learning_rates: Sequence[float]) -> Sequence[float]:
        """Make a step for each batch; return the losses before them."""
        return self.fast.train([Batch(*batch) for batch in batches], learning_rates)

    def loss(self, windows: Windows) -> float:
        """Return the mean loss of many windows."""
        return self.fast.loss(Batch(*windows))

    def logits(self, tokens: Tokens) -> Array:
        """Return the logits (N, T, V) of tokens (N, T)."""
        return self.gpt(tokens)

    def network(self) -> GPT:
        """Return the network."""
        return self.gpt

    def state(self) -> State:
        """Return all arrays that training depends on."""
        return {"parameters": self.gpt.parameters, **self.optimizer.state}

    def load(self, state: State, steps: int) -> None:
        """Go on from what `state` returned after so many steps."""
        for kind, arrays in self.state().items():
            for name, array in arrays.items():
                array[...] = state[kind][name]
        self.optimizer.steps = steps


if __name__ == "__main__":
    sys.exit(main(make_parser("numpy", "Train a GPT with the gradients derived by hand, in NumPy."), NumpyTrainer))
