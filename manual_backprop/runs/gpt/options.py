"""The options of both commands that train a GPT."""

import argparse
import math
from pathlib import Path
from typing import Any

import numpy as np

from manual_backprop.data.texts.characters import Text
from manual_backprop.networks import GPTShape
from manual_backprop.runs.option_types import OneLineParser, folder, learning_rate, positive, seed

BETAS = (0.9, 0.99)
WEIGHT_DECAY = 0.1
"""Of matrices, the embeddings' among them; the weights of norms do not decay."""

MAX_NORM = 1.0

FREE = ("out", "resume", "quiet")
"""The options that may differ when a run is resumed; the schedule depends on the number of steps."""


def make_parser(side: str, description: str) -> argparse.ArgumentParser:
    """Return a parser with the options that both commands have; the defaults are nanoGPT's for a CPU."""
    parser = OneLineParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.set_defaults(side=side)
    parser.add_argument("--text", type=Path, metavar="FILE", help="a text; %(default)s means Python's documentation")
    parser.add_argument("--layers", type=positive, default=4, help="blocks of attention and MLP")
    parser.add_argument("--heads", type=positive, default=4, help="heads of attention")
    parser.add_argument("--width", type=positive, default=128, help="entries of a token's vector")
    parser.add_argument("--context", type=positive, default=64, help="characters that the network sees at once")
    parser.add_argument("--batch-size", type=positive, default=12, metavar="B", help="windows of the text in a step")
    parser.add_argument("--steps", type=positive, default=2000, help="updates of the weights")
    parser.add_argument("--learning-rate", type=learning_rate, default=1e-3, metavar="ALPHA", help="the largest one")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32", help="precision")
    parser.add_argument("--seed", type=seed, default=0, help="decides the initial weights, the windows, the sample")
    parser.add_argument("--out", type=folder, default=Path("runs") / f"gpt_{side}", metavar="DIR", help="results")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in DIR")
    parser.add_argument("--quiet", action="store_true", help="print nothing but warnings and errors")
    return parser


def configure(options: argparse.Namespace, text: Text) -> dict[str, Any]:
    """Return what decides the outcome of a run."""
    chosen = {name: value for name, value in vars(options).items() if name not in FREE}
    return chosen | {"text": text.source, "text_crc32": text.checksum(), "vocabulary": len(text.characters)}


def shape_of(options: argparse.Namespace, text: Text) -> GPTShape:
    """Return the sizes of the network.

    Raises
    ------
    ValueError
        If they do not fit together.
    """
    return GPTShape(len(text.characters), options.layers, options.heads, options.width, options.context)


def needed_bytes(options: argparse.Namespace, shape: GPTShape) -> int:
    """Return what a run takes at most: ten numbers for each weight, and what the layers keep of each token."""
    weights = sum(math.prod(size) for size in shape.parameter_shapes().values())
    kept = shape.layers * (25 * shape.width + shape.heads * shape.context) + shape.vocabulary
    numbers = 10 * weights + options.batch_size * shape.context * kept
    return numbers * np.dtype(options.dtype).itemsize


def decays(shape: GPTShape) -> dict[str, float]:
    """Return the weight decay of each parameter."""
    return {name: WEIGHT_DECAY if len(size) > 1 else 0.0 for name, size in shape.parameter_shapes().items()}
