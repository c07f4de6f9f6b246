"""Measure where a step's time goes in the fast GPT, on one thread, which does the work of two.

The setting is that of `benchmarks/gpt.py`. Each function of a part is timed in the step itself, so that its arrays are
as far away as they are there. What two threads lose by waiting for each other is not in it.

    python scripts/benchmarks/networks/gpt_parts.py [--steps 200]
"""

import argparse
import os
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before NumPy is imported
if __name__ == "__main__":  # not this folder: a file in it may bear the name of a module that PyTorch imports
    sys.path[0] = str(Path(__file__).parents[2])

import numpy as np
from benchmarks.gpt import BATCH, BETAS, CONTEXT, LAYERS, LEARNING_RATE, VOCABULARY, WEIGHT_DECAY, WIDTH

from manual_backprop import AdamW
from manual_backprop.fast.gpt import block
from manual_backprop.fast.gpt.sharing import Batch, SharedGPT
from manual_backprop.networks import GPT, GPTShape

PARTS = {
    "layer normalisation": ("norm_forward", "norm_backward"),
    "gelu": ("gelu_forward",),
    "attention": ("attention_forward", "attention_backward"),
}


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=200, help="how many steps (default: 200)")
    steps = parser.parse_args(arguments).steps
    gpt = GPT.initial(GPTShape(VOCABULARY, LAYERS, 4, WIDTH, CONTEXT))
    decay = {name: WEIGHT_DECAY if value.ndim > 1 else 0.0 for name, value in gpt.parameters.items()}
    fast = SharedGPT(gpt, AdamW(gpt.parameters, LEARNING_RATE, BETAS, weight_decay=decay), workers=1)
    batch = Batch(*np.random.default_rng(0).integers(0, VOCABULARY, (2, BATCH, CONTEXT)))
    fast.train([batch] * 10, [LEARNING_RATE] * 10)

    seconds: dict[str, float] = defaultdict(float)
    for part, functions in PARTS.items():
        for name in functions:
            setattr(block, name, timed(getattr(block, name), part, seconds))
    block.np = Timed(seconds)  # type: ignore[assignment,attr-defined] # all of its own products are linear layers'
    for name in ("_add_up", "_update"):
        setattr(fast, name, timed(getattr(fast, name), "adding up, clipping, AdamW", seconds))
    start = time.perf_counter()
    fast.train([batch] * steps, [LEARNING_RATE] * steps)
    whole = time.perf_counter() - start

    seconds["all else"] = whole - sum(seconds.values())
    for part, value in seconds.items():
        print(f"{part:28}{value / steps * 1000:8.2f} ms {value / whole:7.1%}")
    print(f"{'one thread':28}{whole / steps * 1000:8.2f} ms")
    return 0


def timed(function: Callable[..., Any], part: str, seconds: dict[str, float]) -> Callable[..., Any]:
    """Return the function, which now adds to the seconds of its part."""

    def with_clock(*arguments: Any, **options: Any) -> Any:
        start = time.perf_counter()
        result = function(*arguments, **options)
        seconds[part] += time.perf_counter() - start
        return result

    return with_clock


class Timed:
    """NumPy, with a clock at its products."""

    def __init__(self, seconds: dict[str, float]) -> None:
        self.matmul = timed(np.matmul, "products of linear layers", seconds)

    def __getattr__(self, name: str) -> Any:
        """Return what NumPy has there."""
        return getattr(np, name)


if __name__ == "__main__":
    sys.exit(main())
