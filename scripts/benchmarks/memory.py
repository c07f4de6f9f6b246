"""Measure the memory of the whole command `train_numpy.py`, beyond the images' bytes, and its time for each row.

Memory is the most that the process ever had: Python, its packages, data, training, results and pictures.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np

SCRIPTS = Path(__file__).parents[1]
FEATURES = 784
SPLITS = ((1.0, 0.0, 0.0), (0.03125, 0.003125, 0.965625), (0.8, 0.1, 0.1))
"""Which part of the images to train on, to validate with and to test with."""

# The process tells its own peak: the operating system would add that of the process which started it.
COMMAND = """
import runpy, sys
sys.path.insert(0, {scripts!r})
from benchmarks.turns import peak_memory
try:
    runpy.run_path({scripts!r} + "/train_numpy.py", run_name="__main__")
finally:
    print(peak_memory())
"""


class Run(NamedTuple):
    """A run of the command."""

    images: int
    split: tuple[int, int, int]
    beyond_images: float
    """MiB"""
    microseconds_a_row: float
    """Of training, for each row and epoch."""


def main(arguments: list[str] | None = None) -> int:
    """Measure, print a table and return the exit status: 1 if a run took more than it may."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--counts", type=int, nargs="+", default=[10_000, 320_000], help="images (default: %(default)s)"
    )
    parser.add_argument("--epochs", type=int, default=2, help="of the largest count; smaller ones do more")
    parser.add_argument("--limit", type=float, default=200.0, help="MiB beyond the images (default: %(default)s)")
    options = parser.parse_args(arguments)
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        for count in options.counts:
            path = Path(folder) / f"{count}.npz"
            write_images(path, count)
            epochs = options.epochs * max(options.counts) // count
            runs += [measured(path, count, split, epochs) for split in splits(count)]
            path.unlink()
    for run in runs:
        print(
            f"{run.images:9,} images, split {run.split}: {run.beyond_images:5.0f} MiB beyond the images, "
            f"{run.microseconds_a_row:7.2f} microseconds a row"
        )
    return int(any(run.beyond_images > options.limit for run in runs))


def write_images(path: Path, count: int) -> None:
    """Write random images of random classes; neither memory nor time depends on what they show."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (count, FEATURES), np.uint8)
    np.savez(path, images=images, labels=rng.integers(0, 10, count))


def splits(count: int) -> list[tuple[int, int, int]]:
    """Return the splits of so many images."""
    return [(int(count * train), int(count * valid), int(count * test)) for train, valid, test in SPLITS]


def measured(path: Path, count: int, split: tuple[int, int, int], epochs: int, dtype: str = "float32") -> Run:
    """Run the command as the whole of a process."""
    with tempfile.TemporaryDirectory() as out:
        options = ["--data", str(path), "--split", *map(str, split), "--epochs", str(epochs)]
        options += ["--learning-rate", "0.001", "--dtype", dtype, "--out", out, "--quiet"]
        done = subprocess.run(
            [sys.executable, "-c", COMMAND.format(scripts=str(SCRIPTS)), *options],
            capture_output=True,
            text=True,
            check=True,
        )
        summary = json.loads((Path(out) / "summary.json").read_text())
    beyond = float(done.stdout) - count * FEATURES / 2**20
    return Run(count, split, beyond, 1e6 / summary["throughput"]["examples_per_second"])


if __name__ == "__main__":
    sys.exit(main())
