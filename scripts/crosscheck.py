"""Check hand-derived gradients against autograd: this project's network, a file of one's own, or a folder of files.

A file defines `inputs(rng)`, `manual(**inputs)` and `reference(**inputs)`; docs/examples/softmax_regression.py is one.
In a folder each file defines `manual`; `--reference` names the file with the rest. Exit status 0: everything matches;
1: something does not; 2: it could not run.
"""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the checks that the command line asks for and return the exit status."""
    try:
        from torch_reference.grading import command
    except ImportError:
        print('error: the check needs this project and PyTorch installed: pip install ".[torch]"', file=sys.stderr)
        return 2
    return command.main(arguments, own_network)


def own_network(seed: int) -> list[Any]:
    """Return checks of every hand-derived function of this project and of its network, in both precisions."""
    from own_gradients import CROSS_ENTROPY, LINEAR, RELU, network

    from manual_backprop import MLP
    from torch_reference.grading.command import Check

    checks = []
    for dtype in (np.float64, np.float32):
        rng = np.random.default_rng(seed)
        precision = np.dtype(dtype).name

        def draw(*shape: int, rng: np.random.Generator = rng, dtype: Any = dtype) -> Any:
            return rng.standard_normal(shape).astype(dtype)

        labels = rng.integers(0, 10, 32)
        probabilities = rng.dirichlet(np.ones(10), 32).astype(dtype)
        affine = {"x": draw(32, 20), "weight": draw(20, 12), "bias": draw(12), "grad_output": draw(32, 12)}
        mlp = MLP.xavier([64, 48, 24, 10], seed, dtype)
        checks += [
            Check(f"linear {precision}", *LINEAR, affine),
            Check(f"relu {precision}", *RELU, {"x": draw(32, 12), "grad_output": draw(32, 12)}),
            Check(f"cross_entropy {precision}", *CROSS_ENTROPY, {"logits": 5 * draw(32, 10), "targets": labels}),
            Check(
                f"cross_entropy probabilities {precision}",
                *CROSS_ENTROPY,
                {"logits": 5 * draw(32, 10), "targets": probabilities},
            ),
            Check(f"MLP {precision}", *network(mlp, draw(32, 64), labels), mlp.parameters),
        ]
    return checks


if __name__ == "__main__":
    sys.exit(main())
