"""Measure how near PyTorch's training comes to what a GPU can do.

Prints a table and writes ``benchmark_cuda.json``: epochs a second of the bare matrix products (the bound), of a plain
eager loop and of this project, in float32 and with TF32, from the assignment's size to one that fills a GPU.
"""

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

try:
    import torch
except ModuleNotFoundError:
    print("error: PyTorch is not installed; pip install '.[torch]' brings it", file=sys.stderr)
    sys.exit(2)

from torch.nn.functional import cross_entropy

from manual_backprop.training import epoch_batches
from torch_reference.networks.mlp import ReferenceMLP
from torch_reference.optimizer import matched_sgd
from torch_reference.training import BLOCK_OUTPUTS, Batches, Examples, train_epochs

FEATURES, CLASSES = 784, 10
MIB = 2**20


@dataclass(frozen=True)
class Job:
    """How much to train on; random images and labels, since times do not depend on them."""

    train_count: int
    valid_count: int
    hidden: int
    batch_size: int | None = None

    def __str__(self) -> str:
        batch = "full batch" if self.batch_size is None else f"batch {self.batch_size}"
        return f"{self.train_count:,} x {FEATURES}-{self.hidden}-{CLASSES}, {self.valid_count:,} to validate, {batch}"

    def batches(self, epoch: int) -> Batches:
        """Return the batches of an epoch."""
        return epoch_batches(self.train_count, self.batch_size, 0, epoch)

    def examples(self, device: str) -> tuple[Examples, Examples]:
        """Return training and validation set."""
        torch.manual_seed(0)
        train, valid = (
            (torch.rand(count, FEATURES, device=device), torch.randint(CLASSES, (count,), device=device))
            for count in (self.train_count, self.valid_count)
        )
        return train, valid

    def smallest_memory(self) -> float:
        """Return the MiB of data, parameters, velocity and one set of activations."""
        data = (self.train_count + self.valid_count) * (4 * FEATURES + 8)
        parameters = 4 * (FEATURES * self.hidden + self.hidden + self.hidden * CLASSES + CLASSES)
        activations = 4 * (self.batch_size or self.train_count) * (self.hidden + CLASSES)
        return (data + 2 * parameters + activations) / MIB


JOBS = (
    Job(10_000, 6_000, 1000),
    Job(10_000, 6_000, 1000, 128),
    Job(100_000, 6_000, 2048),
    Job(1_000_000, 6_000, 8192),
    Job(1_000_000, 6_000, 8192, 128),
)

Train = Callable[[], int]
"""Trains for a while, waits for the device and returns how many epochs that were."""


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


def ours(job: Job, device: str) -> Train:
    """Train as ``train_torch.py`` does."""
    train, valid = job.examples(device)
    module = ReferenceMLP([FEATURES, job.hidden, CLASSES]).to(device)
    epochs = train_epochs(module, matched_sgd(module, 1e-3), train, valid, range(10**9), job.batches)
    return lambda: len(next(epochs))


def eager(job: Job, device: str) -> Train:
    """Train with the loop that most people write, and ask for the figures after every epoch."""
    train, valid = job.examples(device)
    network = torch.nn.Sequential(
        torch.nn.Linear(FEATURES, job.hidden), torch.nn.ReLU(), torch.nn.Linear(job.hidden, CLASSES)
    ).to(device)
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)
    numbers = iter(range(10**9))

    def epoch() -> int:
        loss_sum = correct = torch.zeros((), device=device)
        for rows in job.batches(next(numbers)):
            images, labels = (
                train if isinstance(rows, slice) else (values[torch.from_numpy(rows).to(device)] for values in train)
            )
            optimizer.zero_grad()
            logits = network(images)
            loss = cross_entropy(logits, labels)
            loss.backward()
            loss_sum = loss_sum + loss.detach() * len(labels)
            correct = correct + (logits.detach().argmax(dim=1) == labels).sum()
            optimizer.step()
        with torch.no_grad():
            logits = network(valid[0])
            cross_entropy(logits, valid[1]).item(), (logits.argmax(dim=1) == valid[1]).sum().item()
        loss_sum.item(), correct.item()
        return 1

    return epoch


def products(job: Job, device: str) -> Train:
    """Multiply the matrices of an epoch and do nothing else, on a GPU as a graph; in the faster of two cuts."""
    (x, _), (valid_x, _) = job.examples(device)
    weight = torch.rand(FEATURES, job.hidden, device=device)
    weight_out = torch.rand(job.hidden, CLASSES, device=device)
    updates = 1 if job.batch_size is None else -(-job.train_count // job.batch_size)
    batch = job.batch_size or job.train_count
    block = min(batch, max(1, BLOCK_OUTPUTS[torch.device(device).type] // (job.hidden + CLASSES)))

    def multiply(cut: int) -> Callable[[], None]:
        hidden, grad_hidden = (torch.zeros(cut, job.hidden, device=device) for _ in range(2))
        logits = torch.zeros(cut, CLASSES, device=device)
        grad_weight, grad_weight_out = torch.zeros_like(weight), torch.zeros_like(weight_out)

        def part(rows: torch.Tensor, training: bool) -> None:
            h, g, z = hidden[: len(rows)], grad_hidden[: len(rows)], logits[: len(rows)]
            torch.mm(rows, weight, out=h)
            torch.mm(h, weight_out, out=z)
            if training:
                torch.mm(h.T, z, out=grad_weight_out)
                torch.mm(z, weight_out.T, out=g)
                torch.mm(rows.T, g, out=grad_weight)

        def epoch() -> None:
            for rows in x.split(cut):
                part(rows, training=True)
            for rows in valid_x.split(cut):
                part(rows, training=False)

        return epoch if updates > 1000 else captured(epoch, device)  # so many keep the GPU busy without a graph

    def timed(epoch: Callable[[], None]) -> float:
        for _ in range(3):
            epoch()
        synchronize(device)
        start = time.perf_counter()
        for _ in range(5):
            epoch()
        synchronize(device)
        return time.perf_counter() - start

    best = min((multiply(cut) for cut in sorted({block, min(batch, 64 * block)})), key=timed)

    def several() -> int:
        for _ in range(10):
            best()
        synchronize(device)
        return 10

    return several


def captured(work: Callable[[], None], device: str) -> Callable[[], None]:
    """Return what repeats the work as a CUDA graph; on a CPU, the work itself."""
    if device != "cuda":
        return work
    work()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        work()
    return graph.replay


def synchronize(device: str) -> None:
    """Wait until the device has done all that it was asked for."""
    if device == "cuda":
        torch.cuda.synchronize()


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
