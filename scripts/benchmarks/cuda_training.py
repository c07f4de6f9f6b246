"""Measure how near PyTorch's training comes to what a GPU can do.

Prints a table and writes `benchmark_cuda.json`: epochs a second of the bare matrix products (the bound), of a plain
eager loop and of this project, in float32 and with TF32, from the assignment's size to one that fills a GPU.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

if __name__ == "__main__":  # not this folder: a file in it may bear the name of a module that PyTorch imports
    sys.path[0] = str(Path(__file__).parents[1])

try:
    import torch
except ModuleNotFoundError:
    print("error: PyTorch is not installed; pip install '.[torch]' brings it", file=sys.stderr)
    sys.exit(2)

from benchmarks.networks.on_cuda import CLASSES, FEATURES, MIB, Job, Train, eager, ours, products
from torch.nn.functional import cross_entropy

from torch_reference.networks.mlp import ReferenceMLP

JOBS = (
    Job(10_000, 6_000, 1000),
    Job(10_000, 6_000, 1000, 128),
    Job(100_000, 6_000, 2048),
    Job(1_000_000, 6_000, 8192),
    Job(1_000_000, 6_000, 8192, 128),
)


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="turns of every contestant (default: 5)")
    parser.add_argument("--seconds", type=float, default=1.0, help="of a turn, at least (default: 1)")
    parser.add_argument("--out", type=Path, default=Path("docs"), help="folder to write into (default: docs)")
    options = parser.parse_args(arguments)
    if options.rounds < 1 or not options.seconds > 0:
        parser.error("arguments --rounds and --seconds: expected positive numbers")
    if not torch.cuda.is_available():
        print("error: PyTorch finds no CUDA device here; scripts/benchmark.py measures the CPU", file=sys.stderr)
        return 2
    results: dict[str, Any] = {"machine": machine(), "gradient_errors": {}, "jobs": {}}
    print(", ".join(f"{name} {value}" for name, value in results["machine"].items()))
    for precision in ("highest", "high"):
        torch.set_float32_matmul_precision(precision)
        name = NAMES[precision]
        results["gradient_errors"][name] = error = gradient_error("cuda")
        print(f"\n{name}: largest error of the gradient, as a part of its largest entry: {error:.1e}")
        for job in JOBS:
            print(f"{job}, {name}")
            results["jobs"][f"{job}, {name}"] = row = measured(job, "cuda", options.rounds, options.seconds)
            print_job(row)
    try:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "benchmark_cuda.json").write_text(json.dumps(results, indent=1) + "\n")
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


NAMES = {"highest": "float32", "high": "TF32"}
BOUND, EAGER, OURS = "matrix products alone", "plain eager loop", "this project"


def measured(job: Job, device: str, rounds: int, seconds: float) -> dict[str, Any]:
    """Let all contestants take turns at one job; return their epochs a second and the memory of this project's."""
    contestants: dict[str, Train] = {}
    missing: dict[str, str] = {}
    peak = 0.0
    for name, prepare in {OURS: ours, EAGER: eager, BOUND: products}.items():
        if device == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
        try:
            contestants[name] = prepare(job, device)
            for _ in range(4):  # libraries choose, graphs are captured
                contestants[name]()
        except torch.OutOfMemoryError:
            contestants.pop(name, None)
            missing[name] = "more than fits in the GPU's memory"
        if name == OURS and device == "cuda":
            peak = torch.cuda.max_memory_allocated() / MIB
    speeds: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, train in contestants.items():
            epochs, start = 0, time.perf_counter()
            while (elapsed := time.perf_counter() - start) < seconds or epochs == 0:
                epochs += train()
            speeds[name].append(epochs / elapsed)
    return {
        "epochs_per_second": {name: median(values) for name, values in speeds.items()},
        "times_the_bound": {
            name: median(bound / own for bound, own in zip(speeds[BOUND], values, strict=True))
            for name, values in speeds.items()
            if BOUND in speeds
        },
        "rounds": speeds,
        "missing": missing,
        "peak_memory": peak,
        "of_smallest_memory": peak / job.smallest_memory(),
    }


def print_job(row: Mapping[str, Any]) -> None:
    """Print the results of one job."""
    for name, speed in row["epochs_per_second"].items():
        times = row["times_the_bound"].get(name, float("nan"))
        print(f"  {name:24} {speed:10.2f} epochs a second, {times:6.2f} times the bound's time")
    for name, reason in row["missing"].items():
        print(f"  {name:24} left out: {reason}")
    print(f"  peak memory: {row['peak_memory']:.0f} MiB, {row['of_smallest_memory']:.2f} of data, network, activations")


def gradient_error(device: str) -> float:
    """Return by how much the gradient of the assignment's first weight is off, as a part of its largest entry."""
    torch.manual_seed(0)
    module = ReferenceMLP([FEATURES, 1000, CLASSES])
    x, labels = torch.rand(1000, FEATURES), torch.randint(CLASSES, (1000,))

    def gradients() -> Iterator[torch.Tensor]:
        for kind in (torch.float32, torch.float64):
            copy = ReferenceMLP([FEATURES, 1000, CLASSES])
            copy.load_state_dict(module.state_dict())
            place = device if kind == torch.float32 else "cpu"
            copy.to(place, kind)
            cross_entropy(copy(x.to(place, kind)), labels.to(place)).backward()
            yield next(value.grad.double().cpu() for value in copy.parameters() if value.grad is not None)

    found, right = gradients()
    return float((found - right).abs().max() / right.abs().max())


def machine() -> dict[str, str]:
    """Return what the times depend on."""
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        driver = subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()[0]
    except (OSError, subprocess.CalledProcessError):
        driver = "unknown"
    return {
        "card": torch.cuda.get_device_name(),
        "driver": driver,
        "torch": torch.__version__,
        "CUDA": str(torch.version.cuda),
    }


if __name__ == "__main__":
    sys.exit(main())
