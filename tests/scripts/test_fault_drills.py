import json
import subprocess
import sys

import pytest
from training_runs import ENVIRONMENT, SCRIPTS

pytest.importorskip("torch")  # the drills train both sides

NOTHING = {"--kills": 0, "--interruptions": 0, "--full-disks": 0, "--hostile-files": 0}


def drill(tmp_path, **counts):
    """Run some of the drills; return their figures."""
    counts = NOTHING | {f"--{name.replace('_', '-')}": count for name, count in counts.items()}
    options = [str(part) for pair in counts.items() for part in pair]
    command = [sys.executable, SCRIPTS / "drills" / "fault_drills.py", *options, "--record", tmp_path / "faults.json"]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    if done.returncode == 2 and "cannot be mounted" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads((tmp_path / "faults.json").read_text())


def test_hostile_files_are_refused(tmp_path):
    figures = drill(tmp_path, hostile_files=500)
    assert figures["hostile files refused"] > 400
    assert figures["failures"] == 0


@pytest.mark.slow
@pytest.mark.parametrize(("ends", "name"), [("kills", "SIGKILL"), ("interruptions", "SIGINT")])
def test_runs_that_are_ended_go_on_as_if_unbroken(tmp_path, ends, name):
    figures = drill(tmp_path, **{ends: 4})
    assert (figures[f"{name}, numpy"], figures[f"{name}, torch"]) == (3, 1)
    assert figures[f"{name}: runs that end as if unbroken"] == 2


@pytest.mark.slow
def test_full_disks_leave_the_earlier_checkpoint(tmp_path):
    assert drill(tmp_path, full_disks=2)["full disks: earlier checkpoint whole, resumed as if unbroken"] == 2
