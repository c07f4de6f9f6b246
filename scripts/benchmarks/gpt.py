"""Measure a training step of the GPT: this project, PyTorch, and the matrix products alone.

The setting is nanoGPT's for a CPU: 4 layers, 4 heads, width 128, context 64, batches of 12, 65 characters, float32,
AdamW and clipping. Every contestant has a process of its own and they take turns. Times are medians over the rounds;
ratios are medians of the ratios within a round.

    python scripts/benchmarks/gpt.py [--rounds 9] [--out docs/gpt_benchmark.json]
"""

import argparse
import json
import os
import platform
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median

if __name__ == "__main__":  # not this folder: a file in it may bear the name of a module that PyTorch imports
    sys.path[0] = str(Path(__file__).parents[1])

import numpy as np
from benchmarks.contestants import Epoch
from benchmarks.turns import Prepare, take_turns

STEPS = 10
BATCH, CONTEXT, WIDTH, LAYERS, VOCABULARY = 12, 64, 128, 4, 65
LEARNING_RATE, BETAS, WEIGHT_DECAY, MAX_NORM = 1e-3, (0.9, 0.99), 0.1, 1.0

OURS, BOUND = "this project", "matrix products alone"


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="turns of every contestant (default: 9)")
    parser.add_argument("--out", type=Path, help="a JSON file to write")
    options = parser.parse_args(arguments)
    contestants: dict[str, Prepare] = {
        BOUND: products,
        OURS: ours,
        "PyTorch": pytorch,
        "torch.compile": partial(pytorch, compiled=True),
    }
    load = os.getloadavg()[0]
    turns, missing = take_turns(contestants, options.rounds)
    rows = {
        name: {
            "milliseconds_per_step": median(turn.seconds) / STEPS * 1000,
            "times_ours": median(a / b for a, b in zip(turn.seconds, turns[OURS].seconds, strict=True)),
            "peak_memory": turn.peak_memory,
        }
        for name, turn in turns.items()
    }
    for name, row in rows.items():
        print(
            f"{name:24}{row['milliseconds_per_step']:8.1f} ms a step {row['times_ours']:7.2f} of ours"
            f"{row['peak_memory']:7.0f} MiB"
        )
    for name, reason in missing.items():
        print(f"{name:24} missing: {reason}")
    if options.out:
        machine = {"processor": platform.processor(), "cores": os.cpu_count(), "load_before": load}
        options.out.write_text(json.dumps({"machine": machine, "missing": missing, "step": rows}, indent=1) + "\n")
    return 0


def batches() -> list[tuple[np.ndarray, np.ndarray]]:
    """Return random tokens and targets for some steps; times do not depend on them."""
    rng = np.random.default_rng(0)
    return [tuple(rng.integers(0, VOCABULARY, (2, BATCH, CONTEXT))) for _ in range(STEPS)]


def ours() -> Epoch:
    """Train the hand-derived GPT in its fast form."""
    from manual_backprop import AdamW
    from manual_backprop.fast.gpt.sharing import Batch, SharedGPT
    from manual_backprop.networks import GPT, GPTShape

    gpt = GPT.initial(GPTShape(VOCABULARY, LAYERS, 4, WIDTH, CONTEXT))
    decay = {name: WEIGHT_DECAY if value.ndim > 1 else 0.0 for name, value in gpt.parameters.items()}
    fast = SharedGPT(gpt, AdamW(gpt.parameters, LEARNING_RATE, BETAS, weight_decay=decay), MAX_NORM)
    steps = [Batch(*batch) for batch in batches()]
    return lambda: fast.train(steps, [LEARNING_RATE] * STEPS)


def pytorch(compiled: bool = False) -> Epoch:
    """Train the twin of PyTorch's own layers with fused AdamW, eagerly or compiled."""
    from manual_backprop.networks import GPT, GPTShape
    from torch_reference.gpt_training import GPTSteps
    from torch_reference.networks import ReferenceGPT

    module = ReferenceGPT.from_manual(GPT.initial(GPTShape(VOCABULARY, LAYERS, 4, WIDTH, CONTEXT)))
    if compiled:
        module.compile()
    steps = GPTSteps(module, LEARNING_RATE, BETAS, WEIGHT_DECAY, MAX_NORM)
    examples = batches()
    return lambda: steps.train(examples, [LEARNING_RATE] * STEPS)


def products() -> Epoch:
    """Multiply the matrices of a step and do nothing else: half of the rows on each of two threads."""
    from threadpoolctl import threadpool_limits

    rng = np.random.default_rng(0)
    rows = BATCH * CONTEXT // 2
    sizes = [(WIDTH, 3 * WIDTH), (WIDTH, WIDTH), (WIDTH, 4 * WIDTH), (4 * WIDTH, WIDTH)] * LAYERS + [
        (WIDTH, VOCABULARY)
    ]

    def array(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    def half() -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        """Return factors and result of each product of a linear layer: its output, its two gradients."""
        found = []
        for fan_in, fan_out in sizes:
            x, weight, grad = array(rows, fan_in), array(fan_in, fan_out), array(rows, fan_out)
            found += [
                (x, weight, array(rows, fan_out)),
                (grad, weight.T, array(rows, fan_in)),
                (x.T, grad, weight.copy()),
            ]
        heads = (BATCH // 2, 4, CONTEXT, WIDTH // 4)
        for _ in range(LAYERS):  # attention: two products forward, four backward
            left, right, result, scores = *(array(*heads) for _ in range(3)), array(*heads[:3], CONTEXT)
            found += [(left, right.swapaxes(2, 3), scores)] * 2 + [(scores, left, result)] * 4
        return found

    halves, pool = [half() for _ in range(2)], ThreadPoolExecutor(2)

    def multiply(triples: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> None:
        for _ in range(STEPS):
            for left, right, result in triples:
                np.matmul(left, right, out=result)

    def epoch() -> None:
        with threadpool_limits(1, user_api="blas"):
            list(pool.map(multiply, halves))

    return epoch


if __name__ == "__main__":
    sys.exit(main())
