"""Kill, interrupt and starve real training runs, and damage their files; nothing may be lost, nothing let in.

`python scripts/drills/fault_drills.py` is the long run, of some minutes. It prints a table and ends with status 1 if
anything went wrong. The full disks are small tmpfs mounts, which need Linux and root, or `unshare`.
"""

import argparse
import json
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import cycle, islice
from pathlib import Path

import numpy as np
from drilled_run import SETTINGS, Outcome, Setting, epochs_saved, finish, outcome, start, wait_for_epoch, write_data
from hostile_weights import mutations

from manual_backprop import MLP
from manual_backprop.storage.files import replacing

EPOCHS = 100
ENDS_PER_RUN = 3
DISK_BYTES = 2**20
MOUNT = ["mount", "-t", "tmpfs", "-o"]
UNMOUNT = ["umount"]


class Drills:
    """Counts what happened; every failure is described in one line."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.data = folder / "data.npz"
        self.rng = np.random.default_rng(seed)
        self.counts: Counter[str] = Counter()
        self.failures: list[str] = []
        self.outcomes: dict[Setting, Outcome] = {}
        write_data(self.data)

    def unbroken(self, setting: Setting) -> Outcome:
        """Return what a run that nothing disturbs ends in."""
        if setting not in self.outcomes:
            out = self.folder / f"unbroken {setting}"
            status, errors = finish(start(setting, self.data, out, EPOCHS))
            if status != 0:
                raise RuntimeError(errors)
            self.outcomes[setting] = outcome(out)
        return self.outcomes[setting]

    def end_runs(self, times: int, number: signal.Signals, expected: int) -> None:
        """End runs by a signal at random moments, resume each until it is done, and compare with an unbroken one.

        Every second run is asked for more epochs when it is resumed. `expected` is the status that the signal must
        give.
        """
        for run, setting in zip(range(-(-times // ENDS_PER_RUN)), cycle(SETTINGS), strict=False):
            out = self.folder / f"{number.name} {run}"
            ends_left = min(ENDS_PER_RUN, times - run * ENDS_PER_RUN)
            epochs = EPOCHS // 2 if run % 2 else EPOCHS
            while ends_left:
                reached = epochs_saved(out)
                process = start(setting, self.data, out, epochs, *_resume(out))
                if self.rng.random() < 0.2:
                    time.sleep(self.rng.uniform(0, 2))  # in start-up, most likely
                else:
                    wait_for_epoch(process, out, reached + int(self.rng.integers(1, EPOCHS // 2)))
                    time.sleep(self.rng.uniform(0, 0.02))
                process.send_signal(number)
                status, errors = finish(process)
                if status == 0:  # it was too late; what is there may be resumed, too
                    epochs = EPOCHS
                    if reached == EPOCHS:
                        shutil.rmtree(out)
                    continue
                ends_left -= 1
                self.counts[f"{number.name}, {setting.side}"] += 1
                self.counts[f"{number.name} in the middle of a checkpoint"] += any(out.glob(".checkpoint.*.partial.*"))
                if status != expected or "Traceback" in errors:
                    self.failures.append(f"{number.name} {run}, {setting}: status {status}, {errors!r}")
            status, errors = finish(start(setting, self.data, out, EPOCHS, *_resume(out)))
            same = status == 0 and outcome(out) == self.unbroken(setting)
            self.counts[f"{number.name}: runs that end as if unbroken"] += same
            if not same:
                self.failures.append(f"{number.name} {run}, {setting}: status {status}, {errors!r}, or other figures")

    def fill_disks(self, times: int) -> None:
        """Let the disk fill up at random moments: one line, status 2, a loadable checkpoint, and a way to go on."""
        for run, setting in enumerate(islice(cycle(SETTINGS), times)):
            disk = self.folder / f"disk {run}"
            with _small_disk(disk):
                problem = self._fill_disk(setting, disk, self.unbroken(setting))
            self.counts["full disks: earlier checkpoint whole, resumed as if unbroken"] += not problem
            if problem:
                self.failures.append(f"full disk {run}, {setting}: {problem}")

    def _fill_disk(self, setting: Setting, disk: Path, right: Outcome) -> str:
        out = disk / "run"
        process = start(setting, self.data, out, EPOCHS)
        wait_for_epoch(process, out, int(self.rng.integers(1, EPOCHS // 2)))
        spare = int(self.rng.integers(20_000))  # a checkpoint is larger
        while process.poll() is None:
            _fill(disk, spare)
        status, errors = finish(process)
        if status != 2 or errors.count("\n") != 1 or "No space left" not in errors:
            return f"status {status}, {errors!r}"
        if list(out.glob(".*.partial.*")):
            return "half a file is left"
        if epochs_saved(out) < 1:
            return "the earlier checkpoint is lost"
        (disk / "filler").unlink()
        status, errors = finish(start(setting, self.data, out, EPOCHS, "--resume"))
        return "" if status == 0 and outcome(out) == right else f"resumed to status {status}, {errors!r}, or otherwise"

    def change_files(self, times: int) -> None:
        """Read changed weights files: each must be refused in one line or hold the very same weights."""
        path = self.folder / "weights.safetensors"
        network = MLP.xavier([7, 5, 3], seed=1)
        network.save(path)
        right = network.parameters
        for number, content in enumerate(islice(mutations(path.read_bytes(), self.rng), times)):
            path.write_bytes(content)
            try:
                loaded = MLP.load(path).parameters
            except ValueError as error:
                self.counts["hostile files refused"] += 1
                if "\n" in str(error) or str(path) not in str(error):
                    self.failures.append(f"hostile file {number}: {error!r}")
            except BaseException as error:  # a panic of the parser is no Exception
                self.failures.append(f"hostile file {number}: {error!r}")
            else:
                self.counts["hostile files without effect"] += 1
                if loaded.keys() != right.keys() or any((loaded[k] != right[k]).any() for k in right):
                    self.failures.append(f"hostile file {number}: other weights were let in")


def _resume(out: Path) -> list[str]:
    return ["--resume"] if epochs_saved(out) >= 0 else []


@contextmanager
def _small_disk(path: Path) -> Iterator[None]:
    path.mkdir()
    subprocess.run([*MOUNT, f"size={DISK_BYTES}", "tmpfs", path], check=True)
    try:
        yield
    finally:
        subprocess.run([*UNMOUNT, path], check=True)


def _fill(disk: Path, spare: int) -> None:
    """Leave `spare` bytes, give or take a page, on the disk."""
    usage = os.statvfs(disk)
    with (disk / "filler").open("ab", buffering=0) as file, suppress(OSError):
        file.write(bytes(max(usage.f_bavail * usage.f_bsize - spare, 0)))


def _mounting_works() -> bool:
    with tempfile.TemporaryDirectory() as folder:
        try:
            subprocess.run([*MOUNT, "size=4k", "tmpfs", folder], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            return False
        subprocess.run([*UNMOUNT, folder], check=True)
    return True


def main() -> int:
    """Run the drills and return 1 if anything went wrong, 2 if they cannot be run here."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100, help="default: %(default)s")
    parser.add_argument("--interruptions", type=int, default=100, help="default: %(default)s")
    parser.add_argument("--full-disks", type=int, default=20, help="default: %(default)s")
    parser.add_argument("--hostile-files", type=int, default=20_000, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and the changes")
    parser.add_argument("--record", type=Path, help="write the figures to this JSON file")
    options = parser.parse_args()
    if options.full_disks and not _mounting_works():
        if os.geteuid() != 0 and shutil.which("unshare"):
            os.execvp("unshare", ["unshare", "-Urm", sys.executable, *sys.argv])  # noqa: S606, S607
        print("error: a tmpfs cannot be mounted here; --full-disks 0 leaves that drill out", file=sys.stderr)
        return 2
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        drills = Drills(Path(folder), options.seed)
        drills.change_files(options.hostile_files)
        drills.fill_disks(options.full_disks)
        drills.end_runs(options.interruptions, signal.SIGINT, expected=130)
        drills.end_runs(options.kills, signal.SIGKILL, expected=-signal.SIGKILL)
    figures = dict(drills.counts) | {"failures": len(drills.failures), "seconds": round(time.monotonic() - started)}
    for name, value in figures.items():
        print(f"{name:65} {value:6}")
    for failure in drills.failures:
        print(failure)
    if options.record:
        with replacing(options.record) as temporary:
            machine = {"python": platform.python_version(), "system": platform.platform(), "seed": options.seed}
            temporary.write_text(json.dumps(machine | figures, indent=2) + "\n")
    return 1 if drills.failures else 0


if __name__ == "__main__":
    sys.exit(main())
