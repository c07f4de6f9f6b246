"""Training commands run from the tests: as a process of their own or, quicker, inside the tests' process."""

import contextlib
import importlib
import io
import os
import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts"
ENVIRONMENT = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(ROOT), str(SCRIPTS)])}
COLUMNS = ["epoch", "train_loss", "train_accuracy", "valid_loss", "valid_accuracy", "seconds"]


class Result(NamedTuple):
    status: int
    output: str
    errors: str


def script_module(name):
    """Import a module that lies beside the scripts."""
    if str(SCRIPTS) not in sys.path:
        sys.path.append(str(SCRIPTS))
    return importlib.import_module(name)


def write_tiny(path, count=60, seed=3):
    """Write a data set of `count` images of 4 x 4 pixels with something to learn; return its path."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 10
    images = rng.integers(0, 128, (count, 4, 4), dtype=np.uint8)
    images[np.arange(count), labels % 4, labels // 4] += 127
    np.savez(path, images=images, labels=labels)
    return path


def command(side, *options):
    """Return a command line of `train_numpy` or `train_torch`; `gpt_numpy` and `gpt_torch` have their whole names."""
    name = side if side.startswith("gpt_") else f"train_{side}"
    return [sys.executable, str(SCRIPTS / f"{name}.py"), *map(str, options)]


def run_process(side, *options, **settings):
    """Run a command as a process of its own."""
    settings = {"env": ENVIRONMENT, "timeout": 120} | settings
    done = subprocess.run(command(side, *options), capture_output=True, text=True, check=False, **settings)
    return Result(done.returncode, done.stdout, done.stderr)


@contextlib.contextmanager
def blank_pictures():
    """Leave empty files where a run draws its pictures, which takes longer than a short run itself."""
    pictures = importlib.import_module("manual_backprop.runs.pictures")
    results = importlib.import_module("manual_backprop.runs.results")
    names = ("draw_curves", "draw_hidden_units", "draw_mistakes")
    before = {name: getattr(results, name) for name in names}
    for name, function in before.items():
        if function is getattr(pictures, name):  # a test may have put something else there
            setattr(results, name, lambda path, *_: path.touch())
    try:
        yield
    finally:
        for name, function in before.items():
            setattr(results, name, function)


def run(side, *options):
    """Run the same script in this process, without pictures: saves Python's start, the imports and matplotlib."""
    argv, handler = sys.argv, signal.getsignal(signal.SIGINT)
    output, errors = io.StringIO(), io.StringIO()
    sys.argv = command(side, *options)[1:]
    try:
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors), blank_pictures():
            runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as end:
        return Result(end.code, output.getvalue(), errors.getvalue())
    finally:
        sys.argv = argv
        signal.signal(signal.SIGINT, handler)
    raise AssertionError("the script did not exit")


def wait_for(path, process):
    """Wait until a process has made a file."""
    deadline = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)


def assert_refused(result, *words):
    """One line on standard error that says `words`, and status 2."""
    assert result.status == 2, result
    assert result.errors.startswith("error: "), result
    assert result.errors.count("\n") == 1, result
    for word in words:
        assert word in result.errors, result


def history_rows(out):
    """The header of history.csv and its rows, as texts."""
    header, *rows = [line.split(",") for line in (out / "history.csv").read_text().splitlines()]
    assert header == COLUMNS
    return rows


def outcome(out):
    """What must not depend on interruptions: the weights file and every column of the history but seconds."""
    return (out / "weights.safetensors").read_bytes(), [row[:-1] for row in history_rows(out)]
