import subprocess
import sys

import pytest
from training_runs import ENVIRONMENT, SCRIPTS

pytest.importorskip("torch")  # the drills train both sides


def drill(*options):
    arguments = [sys.executable, str(SCRIPTS / "drills" / "fault_drills.py"), *options]
    return subprocess.run(arguments, env=ENVIRONMENT, capture_output=True, text=True, check=False)


def only(name, count):
    counts = dict.fromkeys(("--kills", "--interruptions", "--full-disks", "--hostile-files"), 0) | {name: count}
    return [str(part) for pair in counts.items() for part in pair]


def test_killed_runs_end_as_if_unbroken():
    done = drill(*only("--kills", 4))
    assert done.returncode == 0, done.stdout + done.stderr
    figures = {
        name.strip(): int(value) for name, _, value in (line.rpartition(" ") for line in done.stdout.splitlines())
    }
    assert (figures["SIGKILL, numpy"], figures["SIGKILL, torch"]) == (3, 1)
    assert figures["SIGKILL: runs that end as if unbroken"] == 2


def test_full_disks_leave_the_earlier_checkpoint():
    done = drill(*only("--full-disks", 1))
    if done.returncode == 2 and "cannot be mounted" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr


def test_hostile_files_are_refused(tmp_path):
    done = drill(*only("--hostile-files", 500), "--record", str(tmp_path / "faults.json"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"failures": 0' in (tmp_path / "faults.json").read_text()


@pytest.mark.slow
def test_the_long_run():
    done = drill()
    assert done.returncode == 0, done.stdout + done.stderr
