"""One run in several processes: the same network, whatever their number."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from training_runs import ENVIRONMENT, SCRIPTS, history_rows, run, wait_for, write_tiny

from manual_backprop import MLP

torch = pytest.importorskip("torch")
if not torch.distributed.is_available():
    pytest.skip("needs a PyTorch with torch.distributed", allow_module_level=True)

from torch_reference.sharding import Shards  # noqa: E402

FILES = ("cmdline", "environ")
SMALL = ("--hidden", 12, 9, "--dtype", "float64", "--learning-rate", 0.01, "--quiet")


def torchrun(processes, *options):
    """The command that a user gives."""
    return [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"),
        *(SCRIPTS / "train_torch.py", *map(str, options)),
    ]


# Python imports a module of this name before the script. A thread of the group that is still there when the interpreter
# is taken down may abort the process (https://github.com/pytorch/pytorch/issues/190489).
LOOK_AT_THE_END = """
import atexit, pathlib, sys
@atexit.register
def look():
    names = {path.read_text().strip() for path in pathlib.Path("/proc/self/task").glob("*/comm")}
    if any("gloo" in name for name in names):
        print("a thread of the process group is still there", file=sys.stderr)
"""


@pytest.fixture(scope="module")
def run_together(tmp_path_factory):
    folder = tmp_path_factory.mktemp("module")
    (folder / "sitecustomize.py").write_text(LOOK_AT_THE_END)
    environment = ENVIRONMENT | {"PYTHONPATH": os.pathsep.join([str(folder), ENVIRONMENT["PYTHONPATH"]])}

    def run(processes, *options):
        done = subprocess.run(
            torchrun(processes, *options), env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr
        assert "still there" not in done.stderr

    return run


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    # 43 to train on, 12 to validate, 7 to test: neither two nor three processes can share any of them evenly but 12
    return write_tiny(tmp_path_factory.mktemp("data") / "tiny.npz", count=62)


def figures(out):
    """The history without the seconds."""
    return np.array(history_rows(out), float)[:, :-1]


def assert_same_network(out, alone):
    # 1e-9 is what the project promises; what is seen is below 1e-14
    np.testing.assert_allclose(figures(out), figures(alone), rtol=0, atol=1e-9)
    parameters = MLP.load(out / "weights.safetensors").parameters
    for name, value in MLP.load(alone / "weights.safetensors").parameters.items():
        np.testing.assert_allclose(parameters[name], value, rtol=0, atol=1e-9)
    assert figures(alone)[-1, 1] < figures(alone)[0, 1]  # it did learn something


@pytest.mark.slow
def test_a_run_goes_on_in_three_processes(data, tmp_path, run_together):
    options = ("--data", data, *SMALL, "--batch-size", 4)
    alone, parts = tmp_path / "alone", tmp_path / "parts"
    assert run("torch", *options, "--epochs", 5, "--out", alone).status == 0
    assert run("torch", *options, "--epochs", 2, "--out", parts).status == 0
    run_together(3, *options, "--epochs", 5, "--out", parts, "--resume")
    assert_same_network(parts, alone)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [2, 3, 4])
@pytest.mark.parametrize("batch_size", [(), ("--batch-size", 4)], ids=["full batch", "minibatches"])
def test_any_number_of_processes_trains_the_same_network(data, tmp_path, run_together, batch_size, processes):
    options = ("--data", data, *SMALL, *batch_size, "--epochs", 30)
    assert run("torch", *options, "--out", tmp_path / "alone").status == 0
    run_together(processes, *options, "--out", tmp_path / "together")
    assert_same_network(tmp_path / "together", tmp_path / "alone")


def processes_of(out):
    """The ids of the processes that train into a folder, by the number of each among them."""
    found = {}
    for folder in os.listdir("/proc"):
        try:
            command, environment = (Path(f"/proc/{folder}/{name}").read_bytes().split(b"\0") for name in FILES)
        except OSError:  # it has ended, or is another user's
            continue
        rank = next((entry for entry in environment if entry.startswith(b"RANK=")), None)
        if str(out).encode() in command and rank:
            found[int(rank.removeprefix(b"RANK="))] = int(folder)
    return found


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="finds the processes by Linux's /proc")
def test_a_process_that_dies_ends_the_run_with_a_word_and_a_whole_checkpoint(data, tmp_path):
    out = tmp_path / "out"
    options = ("--data", data, *SMALL, "--out", out)
    command = torchrun(2, *options, "--epochs", 10**6)
    running = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(out / "checkpoint.safetensors", running)
    time.sleep(2)  # into the training, on a busy machine too
    os.kill(processes_of(out)[1], signal.SIGKILL)
    _, errors = running.communicate(timeout=60)
    assert running.returncode != 0
    ours = [line for line in errors.splitlines() if line.startswith("error:")]
    assert len(ours) == 1, errors
    assert "another process of this run has ended" in ours[0]
    assert "--resume" in ours[0]
    reached = len(history_rows(out))
    assert reached > 0
    assert run("torch", *options, "--epochs", reached + 5, "--resume").status == 0
    assert len(history_rows(out)) == reached + 5


def test_a_process_on_its_own_has_all_rows_and_sums_nothing():
    shards = Shards()
    tensor = torch.ones(3)
    shards.all_reduce([tensor])
    shards.broadcast([tensor])
    assert (shards.number, shards.count, shards.rows(7), shards.broadcast_object("a")) == (0, 1, slice(0, 7), "a")
    assert torch.equal(tensor, torch.ones(3))


@pytest.mark.parametrize("total", [0, 1, 2, 7, 12])
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_every_row_belongs_to_one_process(total, count):
    shards = Shards()
    shards.count = count
    owned = []
    for shards.number in range(count):
        rows = range(total)[shards.rows(total)]
        assert total // count <= len(rows) <= -(-total // count)
        owned += rows
    assert owned == list(range(total))
