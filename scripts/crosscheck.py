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
    import torch
    from torch.nn.functional import cross_entropy

    from manual_backprop import MLP, layers
    from torch_reference import ReferenceMLP
    from torch_reference.grading.command import Check

    def linear(x: Any, weight: Any, bias: Any, upstream: Any) -> dict[str, Any]:
        del bias
        return dict(zip(("x", "weight", "bias"), layers.linear_backward(upstream, x, weight), strict=True))

    checks = []
    for dtype in (np.float64, np.float32):
        rng = np.random.default_rng(seed)

        def draw(*shape: int, rng: np.random.Generator = rng, dtype: Any = dtype) -> Any:
            return rng.standard_normal(shape).astype(dtype)

        labels = rng.integers(0, 10, 32)
        precision = np.dtype(dtype).name
        checks += [
            Check(f"linear {precision}", linear, lambda x, weight, bias, upstream: ((x @ weight + bias) *
            upstream).sum(),
                  {"x": draw(32, 20), "weight": draw(20, 12), "bias": draw(12), "upstream": draw(32, 12)}),
            Check(f"relu {precision}", lambda x, upstream: {"x": layers.relu_backward(upstream, x)},
                  lambda x, upstream: (torch.relu(x) * upstream).sum(), {"x": draw(32, 12), "upstream": draw(32, 12)}),
            Check(f"cross_entropy {precision}", lambda logits, labels: {"logits": layers.cross_entropy_backward(logits,
            labels)},
                  lambda logits, labels: cross_entropy(logits, labels), {"logits": 5 * draw(32, 10), "labels": labels}),
            Check(f"cross_entropy probabilities {precision}",
                  lambda logits, targets: {"logits": layers.cross_entropy_backward(logits, targets)},
                  lambda logits, targets: cross_entropy(logits, targets),
                  {"logits": 5 * draw(32, 10), "targets": rng.dirichlet(np.ones(10), 32).astype(dtype)}),
        ]  # fmt: skip
        mlp = MLP.xavier([64, 48, 24, 10], seed, dtype)
        module = ReferenceMLP.from_manual(mlp).double()
        x = draw(32, 64)

        def manual(x: Any = x, labels: Any = labels, **parameters: Any) -> Any:
            return MLP(parameters).backprop(x, labels)[1]

        def reference(x: Any = x, labels: Any = labels, module: Any = module, **parameters: Any) -> Any:
            tensors = {name: value.T for name, value in parameters.items()}
            data = torch.from_numpy(x).to(next(iter(tensors.values())).dtype)
            return cross_entropy(torch.func.functional_call(module, tensors, (data,)), torch.from_numpy(labels))

        checks.append(Check(f"MLP {precision}", manual, reference, mlp.parameters))
    return checks


if __name__ == "__main__":
    sys.exit(main())
