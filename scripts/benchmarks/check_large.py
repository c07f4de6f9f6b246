"""Measure what the check costs at the size of real layers, in units of one float32 forward and backward of PyTorch.

For each layer and each face of the check a right gradient and one off by the factor 1.001, each in a process of its
own: seconds and units without the time of the function under test, units with it, how often the reference was
evaluated, the peak memory of the process, PyTorch's own 200 to 300 MiB included, and the verdicts. Seconds are
processor time with one thread, which other work on the machine hardly changes. What PyTorch loads at its first backward
pass with an upstream gradient, for one to two seconds, is loaded before. Memory is touched before: what a virtual
machine takes to get it from its host, up to 4 seconds for a GiB, is no part of the check.
"""

import argparse
import itertools
import multiprocessing
import os
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
from torch_reference import Report, crosscheck, crosscheck_function

FACTOR = 1.001
LINE = "{:30} {:8} {:8} {:>8} {:>6} {:>6} {:>9} {:>5}  {}"
MEMORY = 3 * 2**30  # bytes, of which no row takes more
REPEATS = 5  # of PyTorch's own pass; the median counts
Arrays = dict[str, Any]
Forward = Callable[..., torch.Tensor]
Row = tuple[Callable[..., Arrays], Forward, Mapping[str, tuple[int, ...]]]


def named(names: str, backward: Callable[..., Any], *settings: Any) -> Callable[..., Arrays]:
    """Return a hand-derived gradient as the check calls it: all arrays by name, the upstream gradient among them."""

    def manual(upstream: Any, **arrays: Any) -> Arrays:
        known = [value for name, value in arrays.items() if name != "bias"]
        return dict(zip(names.split(), backward(upstream, *known, *settings), strict=True))

    return manual


ROWS: dict[str, Row] = {
    "linear 512 x 2048 x 2048": (
        named("x weight bias", layers.linear_backward),
        lambda x, weight, bias: x @ weight + bias,
        {"x": (512, 2048), "weight": (2048, 2048), "bias": (2048,), "upstream": (512, 2048)},
    ),
    "layer norm 4096 x 4096": (
        named("x weight bias", layers.layer_norm_backward),
        lambda x, weight, bias: functional.layer_norm(x, weight.shape, weight, bias),
        {"x": (4096, 4096), "weight": (4096,), "bias": (4096,), "upstream": (4096, 4096)},
    ),
    "cross-entropy 1024 x 32000": (
        lambda logits, labels: {"logits": layers.cross_entropy_backward(logits, labels)},
        functional.cross_entropy,
        {"logits": (1024, 32000), "labels": (1024,)},
    ),
    "attention 2 x 8 x 512 x 64": (
        named("query key value", layers.scaled_dot_product_attention_backward),
        functional.scaled_dot_product_attention,
        dict.fromkeys(("query", "key", "value", "upstream"), (2, 8, 512, 64)),
    ),
    "convolution 16 x 32 x 32 x 32": (
        named("x weight bias", layers.conv2d_backward, 1, 1),
        lambda x, weight, bias: functional.conv2d(x, weight, bias, padding=1),
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


class Stopwatch:
    """Adds up the seconds spent inside."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __enter__(self) -> None:
        self.start = time.process_time()

    def __exit__(self, *_: object) -> None:
        self.seconds += time.process_time() - self.start


def loss_of(forward: Forward, **tensors: torch.Tensor) -> torch.Tensor:
    """Return the loss whose gradients are those of a function's output times an upstream gradient."""
    upstream = tensors.pop("upstream", None)
    output = forward(*tensors.values())
    return output if upstream is None else (output * upstream).sum()


def one_pass(forward: Forward, inputs: Arrays) -> float:
    """Return the seconds that PyTorch takes for the loss and its gradients in float32."""
    tensors = {name: torch.from_numpy(value) for name, value in inputs.items()}
    leaves = [value.requires_grad_() for name, value in tensors.items() if name not in {"upstream", "labels"}]
    seconds = []
    for _ in range(REPEATS + 1):
        start = time.process_time()
        torch.autograd.grad(loss_of(forward, **tensors), leaves)
        seconds.append(time.process_time() - start)
    return statistics.median(seconds[1:])


def check_arrays(row: Row, reference: Forward, inputs: Arrays, factor: float, inside: Stopwatch) -> Report:
    """Check the hand-derived gradients of NumPy."""

    def manual(**given: Any) -> Arrays:
        with inside:
            return {name: value * np.float32(factor) for name, value in row[0](**given).items()}

    return crosscheck(manual, lambda **tensors: loss_of(reference, **tensors), inputs)


def check_function(row: Row, reference: Forward, inputs: Arrays, factor: float, inside: Stopwatch) -> Report:
    """Check a function of PyTorch whose backward pass is PyTorch's, times the factor."""

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *given: torch.Tensor) -> torch.Tensor:
            with inside, torch.enable_grad():
                ctx.given = [value.detach().requires_grad_(value.is_floating_point()) for value in given]
                ctx.output = row[1](*ctx.given)
                return ctx.output.detach()

        @staticmethod
        def backward(ctx: Any, upstream: torch.Tensor) -> Any:
            with inside:
                leaves = [value for value in ctx.given if value.requires_grad]
                found = iter(torch.autograd.grad(ctx.output, leaves, upstream, retain_graph=True))
                return tuple(next(found) * factor if value.requires_grad else None for value in ctx.given)

    tensors = {name: torch.from_numpy(value) for name, value in inputs.items() if name != "upstream"}
    return crosscheck_function(Function.apply, reference, tensors)


FACES = {"arrays": check_arrays, "function": check_function}


def touch_memory() -> None:
    """Let another process take memory and give it back, so that the system has it at hand."""
    if not os.fork():
        b"x" * MEMORY
        os._exit(0)
    os.wait()


def measure(title: str, face: str, factor: float, report: Any) -> None:
    """Check one layer and send what it took."""
    torch.set_num_threads(1)
    row, inside, evaluations = ROWS[title], Stopwatch(), 0
    inputs = arrays(row[2])
    one = torch.ones(1, requires_grad=True)
    torch.autograd.grad(one + 1, one, torch.ones(1))

    def counted(*tensors: torch.Tensor) -> torch.Tensor:
        nonlocal evaluations
        evaluations += 1
        return row[1](*tensors)

    touch_memory()
    start = time.process_time()
    found = FACES[face](row, counted, inputs, factor, inside)
    whole = time.process_time() - start
    seconds = whole - inside.seconds
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # Linux counts in KiB
    unit = one_pass(row[1], inputs)
    codes = sorted({gradient.code for gradient in found.gradients.values()})
    report.send((seconds, seconds / unit, whole / unit, evaluations, ", ".join(codes), peak))


def main(arguments: list[str] | None = None) -> int:
    """Print a line for each layer, each face and each gradient."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", default="", help="rows whose title holds this text")
    parser.add_argument("--face", choices=FACES, help="default: both")
    options = parser.parse_args(arguments)
    context = multiprocessing.get_context("spawn")
    print(LINE.format("layer", "face", "gradient", "seconds", "units", "with", "evaluated", "GiB", "verdicts"))
    titles = [title for title in ROWS if options.only in title]
    faces = [options.face] if options.face else list(FACES)
    for title, face, factor in itertools.product(titles, faces, (1.0, FACTOR)):
        gradient = "right" if factor == 1 else f"* {factor}"
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=measure, args=(title, face, factor, sender))
        process.start()
        sender.close()
        seconds, units, whole, evaluations, codes, peak = receiver.recv()
        process.join()
        figures = f"{seconds:.2f}", f"{units:.0f}", f"{whole:.0f}", evaluations, f"{peak:.2f}"
        print(LINE.format(title, face, gradient, *figures, codes), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
