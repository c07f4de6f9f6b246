"""The time of each layer's forward and backward pass beside PyTorch eager's, in one process and on one core.

A worker of the trainers has one core, and the cores share the examples out; so does PyTorch inside its functions.
"""

import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
import torch
from benchmarks.layers.fast_forms import FAST_FORMS
from benchmarks.layers.problems import PROBLEMS, Problem
from threadpoolctl import threadpool_limits

from manual_backprop import layers

SHORTEST = 4e-3
"""Seconds that a turn lasts at least; short passes are repeated."""


def layer_times(rounds: int, shortest: float = SHORTEST) -> dict[str, Any]:
    """Return the times of every layer, and of every fast form.

    Parameters
    ----------
    rounds : turns of both sides
    shortest : seconds of a turn
    """
    rng = np.random.default_rng(0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            textbook = {
                name: compared(*passes(name, problem, rng), rounds, shortest) for name, problem in PROBLEMS.items()
            }
            fast = {
                f"{', '.join(form.layers)} ({form.file})": compared(*form.prepare(rng), rounds, shortest)
                | {"layers": form.layers, "file": form.file}
                for form in FAST_FORMS
            }
    finally:
        torch.set_num_threads(threads)
    return textbook | fast


def passes(name: str, problem: Problem, rng: np.random.Generator) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Return what runs a layer's textbook form forward and backward, and what runs PyTorch's: the gradients."""
    inputs = {key: rng.normal(scale=0.1, size=shape).astype(np.float32) for key, shape in problem.shapes.items()}
    others = problem.others(rng)
    forward, backward = getattr(layers, name), getattr(layers, f"{name}_backward")
    outputs = forward(**inputs, **others, **problem.options)
    single = not isinstance(outputs, tuple)
    is_loss = single and outputs.ndim == 0
    upstream = (
        []
        if is_loss
        else [rng.normal(size=output.shape).astype(np.float32) for output in ((outputs,) if single else outputs)]
    )
    taken = backward.__code__.co_varnames[: backward.__code__.co_argcount]
    arguments = {key: value for key, value in (inputs | dict(others)).items() if key in taken}

    def ours() -> Any:
        forward(**inputs, **others, **problem.options)
        return backward(*upstream, **arguments, **problem.options)

    tensors = {key: torch.from_numpy(value.copy()).requires_grad_() for key, value in inputs.items()}
    constants = [torch.from_numpy(value) for value in others.values()]
    incoming = [torch.from_numpy(array) for array in upstream]

    def theirs() -> Any:
        results = problem.reference(*tensors.values(), *constants)
        return torch.autograd.grad(results, list(tensors.values()), incoming or None)

    return ours, theirs


def compared(ours: Callable[[], Any], theirs: Callable[[], Any], rounds: int, shortest: float) -> dict[str, Any]:
    """Let both take turns; return the median times of a pass, and the median of the ratios within a turn."""
    counts = [max(1, round(shortest / max(timed(side, 2), 1e-9))) for side in (ours, theirs)]
    turns = [tuple(map(timed, (ours, theirs), counts)) for _ in range(rounds)]
    return {
        "seconds": median(mine for mine, _ in turns),
        "pytorch_seconds": median(other for _, other in turns),
        "of_pytorch": median(mine / other for mine, other in turns),
    }


def timed(run: Callable[[], Any], count: int) -> float:
    """Return the seconds of one of so many runs."""
    start = time.perf_counter()
    for _ in range(count):
        run()
    return (time.perf_counter() - start) / count


def print_layers(rows: dict[str, Any]) -> None:
    """Print a table."""
    print(f"\n{'forward and backward, float32, one core':58} {'ms':>8} {'PyTorch':>8} {'of PyTorch':>11}")
    for name, row in rows.items():
        seconds, pytorch = 1000 * row["seconds"], 1000 * row["pytorch_seconds"]
        print(f"{name:58} {seconds:8.3f} {pytorch:8.3f} {row['of_pytorch']:11.2f}")
