"""Repeat short runs under `torchrun` and count those that do not end well: aborts in the last moment are rare.

`python scripts/drills/torchrun_ends.py --processes 2 3 4 --runs 100 --busy 2` is the long run.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TRAIN = Path(__file__).parents[1] / "train_torch.py"
PATIENCE = 300.0
"""Seconds after which a run counts as hung."""


def run_once(processes: int, data: str, epochs: int, out: Path) -> str:
    """Train a small network; return nothing if all went well, otherwise what went wrong."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command += [str(TRAIN), *"--split 1501 500 0 --hidden 64 --dtype float64 --quiet".split()]
    command += ["--data", data, "--epochs", str(epochs), "--out", str(out)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except subprocess.TimeoutExpired:
        return f"still running after {PATIENCE:.0f} s"
    if done.returncode != 0 or "terminate called" in done.stderr:
        return f"status {done.returncode}\n{done.stderr}"
    return "" if (out / "summary.json").exists() else "there is no summary.json"


@contextmanager
def busy_loops(count: int) -> Iterator[None]:
    """Keep `count` other processes busy meanwhile."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def main() -> int:
    """Run the drill; return 1 if any run did not end well, 130 if interrupted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", nargs="+", type=int, default=[2, 3, 4], help="default: 2 3 4")
    parser.add_argument("--runs", type=int, default=100, help="of each number of processes (%(default)s)")
    parser.add_argument("--busy", type=int, default=0, help="busy loops beside (%(default)s)")
    parser.add_argument("--epochs", type=int, default=5, help="of each run (%(default)s)")
    parser.add_argument("--data", default="glyphs", help="as for scripts/train_torch.py (%(default)s)")
    options = parser.parse_args()
    failures = 0
    try:
        with busy_loops(options.busy):
            for processes in options.processes:
                failures += _repeat(processes, options)
    except KeyboardInterrupt:
        return 130
    return 1 if failures else 0


def _repeat(processes: int, options: argparse.Namespace) -> int:
    failures, start = 0, time.monotonic()
    for number in range(options.runs):
        with tempfile.TemporaryDirectory() as folder:
            problem = run_once(processes, options.data, options.epochs, Path(folder) / "run")
        if problem:
            failures += 1
            print(f"run {number} of {processes} processes: {problem}", flush=True)
    seconds = time.monotonic() - start
    print(
        f"{processes} processes, {options.busy} busy loops: {failures} of {options.runs} runs failed, {seconds:.0f} s",
        flush=True,
    )
    return failures


if __name__ == "__main__":
    sys.exit(main())
