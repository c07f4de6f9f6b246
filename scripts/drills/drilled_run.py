"""A training run as a process that may be killed, interrupted or run out of disk, and what it must end in."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from manual_backprop.storage.weights import load_arrays

SCRIPTS = Path(__file__).parents[1]
PATIENCE = 120.0
"""Seconds after which a process counts as hung."""

# a checkpoint after every epoch, so that most moments are in the middle of one
CHILD = """
import os, runpy, signal, sys
signal.signal(signal.SIGINT, lambda *_: os._exit(130))  # as in the first lines of the commands
print("started", flush=True)
from manual_backprop.runs import command
command.CHECKPOINT_SECONDS = 0
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


Outcome = tuple[bytes, list[str]]


class Setting(NamedTuple):
    """Which side trains, and how."""

    side: str
    batch_size: int | None

    def __str__(self) -> str:
        return f"{self.side}, {f'batches of {self.batch_size}' if self.batch_size else 'full batch'}"


SETTINGS = [Setting("numpy", None), Setting("torch", 50), Setting("numpy", 50), Setting("torch", None)]


def write_data(path: Path) -> None:
    """Write a data set on which an epoch takes about a millisecond."""
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 10
    images = rng.integers(0, 128, (200, 8, 8), dtype=np.uint8)
    images[np.arange(200), labels % 8, labels // 8] += 127  # something to learn
    np.savez(path, images=images, labels=labels)


def start(setting: Setting, data: Path, out: Path, epochs: int, *options: str) -> subprocess.Popen[str]:
    """Start a run, and wait until Python itself is up."""
    command = [sys.executable, "-c", CHILD, str(SCRIPTS / f"train_{setting.side}.py")]
    command += ["--data", str(data), "--out", str(out), "--epochs", str(epochs), "--hidden", "30", "--quiet", *options]
    if setting.batch_size:
        command += ["--batch-size", str(setting.batch_size)]
    path = os.pathsep.join([str(SCRIPTS), str(SCRIPTS.parent), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(
        command, env=os.environ | {"PYTHONPATH": path}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    if process.stdout is not None:
        process.stdout.readline()
    return process


def finish(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Return exit status and errors of a process, which must end by itself."""
    _, errors = process.communicate(timeout=PATIENCE)
    return process.returncode, errors


def wait_for_epoch(process: subprocess.Popen[str], out: Path, epoch: int) -> None:
    """Wait until the checkpoint of a running process has reached an epoch, or the process has ended."""
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and epochs_saved(out) < epoch and time.monotonic() < deadline:
        time.sleep(0.01)


def epochs_saved(out: Path) -> int:
    """Return how many epochs the checkpoint holds; -1 where there is none. A damaged one raises ValueError."""
    try:
        return len(load_arrays(out / "checkpoint.safetensors")[0]["history"])
    except FileNotFoundError:
        return -1


def outcome(out: Path) -> Outcome:
    """Return all that must not depend on interruptions: the weights file and every history column but seconds."""
    lines = (out / "history.csv").read_text().splitlines()
    return (out / "weights.safetensors").read_bytes(), [line.rpartition(",")[0] for line in lines]
