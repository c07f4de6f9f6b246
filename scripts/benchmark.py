"""Measure how fast this project trains, against what, and in how much memory.

Prints tables, and writes `benchmark.json` and `benchmark.png`. Every contestant has a process of its own and they
take turns. Times are medians over the rounds; ratios are medians of the ratios within a round.
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Mapping
from functools import partial
from importlib import metadata
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from benchmarks import memory
from benchmarks.contestants import Problem, block_products, ours, report, threaded_products
from benchmarks.networks import convolutional
from benchmarks.peers import jax, pytorch, scikit_learn
from benchmarks.turns import Prepare, Turns, take_turns

from manual_backprop.fast.workers import Workers

OURS, BOUND = "this project", "matrix products alone"
BATCH_SIZE = 128


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="turns of every contestant (default: 9)")
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder to write into (default: docs)")
    parser.add_argument(
        "--network",
        choices=("mlp", "cnn", "layers"),
        help="measure only this one, or only single layers (default: all)",
    )
    parser.add_argument("--quick", action="store_true", help="float32 only, and no more than 40,000 images")
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error(f"argument --rounds: expected a positive number, got {options.rounds}")
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        recorded = options.out / "benchmark.json"
        results = json.loads(recorded.read_text()) if options.network and recorded.exists() else {}
        if options.network in (None, "mlp"):
            results |= {"machine": machine()} | measured(options.rounds, options.quick)
        if options.network in (None, "cnn"):
            results |= convolutional_network(options.rounds)
        if options.network in (None, "layers"):
            results |= single_layers(options.rounds)
        recorded.write_text(json.dumps(results, indent=1) + "\n")
        from benchmarks.picture import draw  # not earlier: the contestants' processes import this file too

        draw(results, options.out / "benchmark.png")
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def measured(rounds: int, quick: bool) -> dict[str, Any]:
    """Measure everything, print it and return it."""
    dtypes = ["float32"] if quick else ["float32", "float64"]
    results: dict[str, Any] = {}
    for batch_size, title in ((None, "full batch"), (BATCH_SIZE, f"batch {BATCH_SIZE}")):
        for dtype in dtypes:
            print(f"\n{title}, {dtype}: an epoch of 10,000 examples, 6,000 more for validation")
            turns, missing = take_turns(contestants(Problem(dtype, batch_size)), rounds)
            results[f"{title}, {dtype}"] = compared(turns)
            results["missing"] = missing
            print_comparison(results[f"{title}, {dtype}"], missing)

    counts = [10_000, 40_000] if quick else [10_000, 40_000, 160_000, 640_000]
    for dtype in dtypes:
        print(f"\nfull batch, {dtype}: more and more images, the whole of train_numpy.py")
        results[f"images, {dtype}"] = grown(counts, dtype, min(rounds, 3))
        for name, row in results[f"images, {dtype}"].items():
            print(
                f"{name:>16}: {row['microseconds_per_image']:7.2f} microseconds an image, "
                f"{row['memory_beyond_images']:5.0f} MiB beyond the images"
            )

    print("\nfull batch, float32: more and more workers")
    cores = Workers().count
    problems = {
        f"{workers} workers": partial(ours, Problem("float32"), workers)
        for workers in sorted({*(2**i for i in range(cores.bit_length())), cores, 2 * cores})
    }
    turns, _ = take_turns(problems, rounds)
    results["workers, float32"] = {
        name: {"seconds": median(turn.seconds), "peak_memory": turn.peak_memory} for name, turn in turns.items()
    }
    for name, row in results["workers, float32"].items():
        print(f"{name:>16}: {row['seconds']:7.3f} s an epoch, {row['peak_memory']:5.0f} MiB in all")
    return results


def convolutional_network(rounds: int) -> dict[str, Any]:
    """Measure the convolutional network at its defaults, print it and return it."""
    problem = Problem("float32", 32, train_count=2_000, valid_count=1_200)
    print("\nconvolutional network, batch 32, float32: an epoch of 2,000 examples, 1,200 more for validation")
    turns, missing = take_turns(convolutional.contestants(problem), rounds, epochs=1)
    rows = compared(turns)
    print_comparison(rows, missing, problem.train_count)
    return {"cnn, float32": rows, "cnn missing": missing, "cnn machine": machine()}


def single_layers(rounds: int) -> dict[str, Any]:
    """Measure every layer beside PyTorch's, print it and return it; nothing where PyTorch is not installed."""
    try:
        from benchmarks.layers import measured as by_layer
    except ImportError as error:
        print(f"\nsingle layers left out: {error}")
        return {}
    rows = by_layer.layer_times(rounds)
    by_layer.print_layers(rows)
    return {"layers, float32": rows, "layers machine": machine()}


def contestants(problem: Problem) -> dict[str, Prepare]:
    """Return who takes part; the bound is the fastest of several ways to multiply."""
    sides: dict[str, Prepare] = {f"{BOUND}: BLAS's threads": partial(threaded_products, problem)}
    if problem.batch_size is None:
        for rows in (500, 1000, 2500):
            sides[f"{BOUND}: blocks of {rows}"] = partial(block_products, problem, rows, Workers().count)
    sides |= {
        OURS: partial(ours, problem),
        "torch.compile": partial(pytorch, problem, compiled=True),
        "PyTorch": partial(pytorch, problem),
        "JAX": partial(jax, problem),
        "scikit-learn": partial(scikit_learn, problem),
        "scikit-learn, training loss only": partial(scikit_learn, problem, accuracies=False),
    }
    if problem.batch_size is None:
        sides["the report's code (float64)"] = partial(report, problem)
    return sides


def compared(turns: Mapping[str, Turns]) -> dict[str, Any]:
    """Return for each contestant its median time and its times relative to the bound and to this project."""
    bound = min((name for name in turns if name.startswith(BOUND)), key=lambda name: median(turns[name].seconds))

    def relative(name: str, to: str) -> float:
        return median(a / b for a, b in zip(turns[name].seconds, turns[to].seconds, strict=True))

    return {
        name: {
            "seconds": median(turn.seconds),
            "of_bound": relative(name, bound),
            "of_ours": relative(name, OURS),
            "peak_memory": turn.peak_memory,
            "is_bound": name == bound,
            "rounds": turn.seconds,
        }
        for name, turn in turns.items()
    }


def print_comparison(rows: Mapping[str, Any], missing: Mapping[str, str], examples: int = 10_000) -> None:
    """Print a table, the fastest first."""
    print(f"{'':40} {'s an epoch':>10} {'of the bound':>13} {'of ours':>8} {'images/s':>10} {'peak MiB':>9}")
    for name, row in sorted(rows.items(), key=lambda item: item[1]["seconds"]):
        print(
            f"{name + (' (the bound)' if row['is_bound'] else ''):40} {row['seconds']:10.3f} {row['of_bound']:13.3f} "
            f"{row['of_ours']:8.2f} {examples / row['seconds']:10,.0f} {row['peak_memory']:9.0f}"
        )
    for name, reason in missing.items():
        print(f"{name:40} left out: {reason}")


def grown(counts: list[int], dtype: str, rounds: int) -> dict[str, Any]:
    """Return time for each image, and what the whole process takes beyond the images' bytes, in MiB."""
    with TemporaryDirectory() as folder:
        for count in counts:
            memory.write_images(Path(folder) / f"{count}.npz", count)
        runs = {
            count: [
                memory.measured(Path(folder) / f"{count}.npz", count, (count, 0, 0), counts[-1] // count, dtype)
                for _ in range(rounds)
            ]
            for count in counts
        }
    return {
        f"{count:,} images": {
            "microseconds_per_image": median(run.microseconds_a_row for run in of_count),
            "memory_beyond_images": max(run.beyond_images for run in of_count),
        }
        for count, of_count in runs.items()
    }


def machine() -> dict[str, Any]:
    """Return what the times depend on."""
    cpu = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        cpu = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), cpu)
    versions = {}
    for package in ("numpy", "threadpoolctl", "torch", "jax", "scikit-learn"):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[package] = "not installed"
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        **versions,
    }


if __name__ == "__main__":
    sys.exit(main())
