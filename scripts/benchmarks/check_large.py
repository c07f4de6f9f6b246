"""Measure what the check costs at the size of real layers, in units of one float32 forward and backward of PyTorch.

For each layer a right gradient and one off by the factor 1.001, each in a process of its own: seconds and units without
the time of the gradient under test, how often the reference was evaluated, the verdict, and the peak memory of the
process, PyTorch's own 200 to 300 MiB included.
"""

import argparse
import multiprocessing
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from manual_backprop import layers
from torch_reference import crosscheck

FACTOR = 1.001
REPEATS = 5  # of PyTorch's own pass; the median counts
Arrays = dict[str, Any]
Row = tuple[Callable[..., Arrays], Callable[..., torch.Tensor], Mapping[str, tuple[int, ...]]]


def named(names: str, backward: Callable[..., Any], *settings: Any) -> Callable[..., Arrays]:
    """Return a hand-derived gradient as the check calls it: all arrays by name, the upstream gradient among them."""

    def manual(upstream: Any, **arrays: Any) -> Arrays:
        known = [value for name, value in arrays.items() if name != "bias"]
        return dict(zip(names.split(), backward(upstream, *known, *settings), strict=True))

    return manual


def times_upstream(forward: Callable[..., torch.Tensor]) -> Callable[..., torch.Tensor]:
    """Return the loss whose gradients are those of a function's outputs times an upstream gradient."""
    return lambda upstream, **tensors: (forward(**tensors) * upstream).sum()


ROWS: dict[str, Row] = {
    "linear 512 x 2048 x 2048": (
        named("x weight bias", layers.linear_backward),
        times_upstream(lambda x, weight, bias: x @ weight + bias),
        {"x": (512, 2048), "weight": (2048, 2048), "bias": (2048,), "upstream": (512, 2048)},
    ),
    "layer norm 4096 x 4096": (
        named("x weight bias", layers.layer_norm_backward),
        times_upstream(lambda x, weight, bias: functional.layer_norm(x, weight.shape, weight, bias)),
        {"x": (4096, 4096), "weight": (4096,), "bias": (4096,), "upstream": (4096, 4096)},
    ),
    "cross-entropy 1024 x 32000": (
        lambda logits, labels: {"logits": layers.cross_entropy_backward(logits, labels)},
        lambda logits, labels: functional.cross_entropy(logits, labels),
        {"logits": (1024, 32000), "labels": (1024,)},
    ),
    "attention 2 x 8 x 512 x 64": (
        named("query key value", layers.scaled_dot_product_attention_backward),
        times_upstream(lambda query, key, value: functional.scaled_dot_product_attention(query, key, value)),
        dict.fromkeys(("query", "key", "value", "upstream"), (2, 8, 512, 64)),
    ),
    "convolution 16 x 32 x 32 x 32": (
        named("x weight bias", layers.conv2d_backward, 1, 1),
        times_upstream(lambda x, weight, bias: functional.conv2d(x, weight, bias, padding=1)),
        {"x": (16, 32, 32, 32), "weight": (32, 32, 3, 3), "bias": (32,), "upstream": (16, 32, 32, 32)},
    ),
}


def arrays(shapes: Mapping[str, tuple[int, ...]]) -> Arrays:
    """Return random float32 inputs, and labels where they are asked for."""
    rng = np.random.default_rng(0)
    classes = max(shapes.values(), key=len)[-1]
    return {
        name: rng.integers(0, classes, shape) if name == "labels" else rng.standard_normal(shape, np.float32)
        for name, shape in shapes.items()
    }


def one_pass(reference: Callable[..., torch.Tensor], inputs: Arrays, wanted: list[str]) -> float:
    """Return the seconds that PyTorch takes for the loss and its gradients in float32."""
    tensors = {name: torch.from_numpy(value) for name, value in inputs.items()}
    leaves = [tensors[name].requires_grad_() for name in wanted]
    seconds = []
    for _ in range(REPEATS + 1):
        start = time.perf_counter()
        torch.autograd.grad(reference(**tensors), leaves)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds[1:])


def measure(title: str, factor: float, report: Any) -> None:
    """Check one layer and send what it took."""
    manual, reference, shapes = ROWS[title]
    inputs = arrays(shapes)
    inside, evaluations = 0.0, 0

    def timed(**given: Any) -> Arrays:
        nonlocal inside
        start = time.perf_counter()
        gradients = {name: value * np.float32(factor) for name, value in manual(**given).items()}
        inside += time.perf_counter() - start
        return gradients

    def counted(**tensors: torch.Tensor) -> torch.Tensor:
        nonlocal evaluations
        evaluations += 1
        return reference(**tensors)

    start = time.perf_counter()
    found = crosscheck(timed, counted, inputs)
    seconds = time.perf_counter() - start - inside
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # Linux counts in KiB
    unit = one_pass(reference, inputs, list(found.gradients))
    codes = sorted({gradient.code for gradient in found.gradients.values()})
    report.send((seconds, seconds / unit, evaluations, ", ".join(codes), peak))


def main(arguments: list[str] | None = None) -> int:
    """Print a line for each layer and each gradient."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", default="", help="rows whose title holds this text")
    options = parser.parse_args(arguments)
    context = multiprocessing.get_context("spawn")
    print(f"{'layer':30} {'gradient':8} {'seconds':>8} {'units':>6} {'evaluated':>9} {'peak GiB':>8}  verdict")
    for title in (title for title in ROWS if options.only in title):
        for gradient, factor in (("right", 1.0), (f"* {FACTOR}", FACTOR)):
            receiver, sender = context.Pipe(duplex=False)
            process = context.Process(target=measure, args=(title, factor, sender))
            process.start()
            sender.close()
            seconds, units, evaluations, codes, peak = receiver.recv()
            process.join()
            print(
                f"{title:30} {gradient:8} {seconds:8.2f} {units:6.0f} {evaluations:9} {peak:8.2f}  {codes}", flush=True
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
