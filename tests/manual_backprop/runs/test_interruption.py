"""Ctrl-C at any time after Python is up: no traceback, status 130, and nothing that was reached is lost."""

import os
import signal
import subprocess
import sys

import pytest
from training_runs import (
    ENVIRONMENT,
    assert_refused,
    command,
    history_rows,
    outcome,
    run,
    wait_for,
    write_tiny,
)

from manual_backprop import MLP
from manual_backprop.optimizers import Momentum
from manual_backprop.runs import command as training_command
from manual_backprop.runs import results
from manual_backprop.runs.interruption import Interruption

SMALL = ("--hidden", 8, "--quiet")


@pytest.fixture
def data(tmp_path):
    return write_tiny(tmp_path / "tiny.npz")


def interrupt(times=1, number=signal.SIGINT):
    for _ in range(times):
        os.kill(os.getpid(), number)


def interrupting(function, at_call, times=1, number=signal.SIGINT):
    """Wrap `function` so that its `at_call`-th call begins with signals to this process."""
    calls = []

    def wrapped(*arguments, **options):
        calls.append(arguments)
        if len(calls) == at_call:
            interrupt(times, number)
        return function(*arguments, **options)

    return wrapped


def assert_resumes_as_if_unbroken(side, data, out, epochs, *options):
    unbroken = out.with_name("unbroken")
    assert run(side, "--data", data, *SMALL, *options, "--epochs", epochs, "--out", unbroken).status == 0
    assert run(side, "--data", data, *SMALL, *options, "--epochs", epochs, "--out", out, "--resume").status == 0
    assert outcome(out) == outcome(unbroken)


@pytest.mark.parametrize(
    ("side", "options"), [("numpy", ("--batch-size", 9)), pytest.param("torch", (), marks=pytest.mark.slow)]
)
def test_a_running_command_stops_after_its_epoch_and_can_go_on(data, tmp_path, side, options):
    if side == "torch":
        pytest.importorskip("torch")
    out = tmp_path / "out"
    arguments = command(side, "--data", data, "--hidden", 8, *options, "--epochs", 10**9, "--out", out)
    process = subprocess.Popen(arguments, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(out / "checkpoint.safetensors", process)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == "\nfinishing this epoch; once more stops at once and keeps the last checkpoint\n"
    reached = len(history_rows(out))
    assert output.splitlines()[-1] == f"interrupted after {reached} epochs; the results are in {out}"
    assert (out / "summary.json").exists()
    assert_resumes_as_if_unbroken(side, data, out, reached + 3, *options)


# -X importtime says on standard error what has been imported so far
@pytest.mark.parametrize(
    "moment", ["numpy.linalg", "matplotlib.figure", "manual_backprop.runs.options", "manual_backprop.training"]
)
def test_start_up_ends_quietly(tmp_path, moment):
    data = write_tiny(tmp_path / "tiny.npz", count=50_000)  # after the last import it is read for a while
    arguments = [sys.executable, "-X", "importtime", *command("numpy", "--data", data, "--out", tmp_path / "out")[1:]]
    with subprocess.Popen(arguments, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True) as process:
        assert any(line.split("|")[-1].strip() == moment for line in process.stderr)
        process.send_signal(signal.SIGINT)
        errors = process.stderr.read()
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert "KeyboardInterrupt" not in errors


def test_two_ctrl_c_in_the_middle_of_an_update_keep_the_last_checkpoint(data, tmp_path, monkeypatch):
    out = tmp_path / "out"
    monkeypatch.setattr(training_command, "CHECKPOINT_SECONDS", 0)
    step = Momentum.step

    def torn_step(optimizer, gradients):
        optimizer.calls = getattr(optimizer, "calls", 0) + 1
        if optimizer.calls == 4:
            optimizer.parameters["layers.0.weight"] += 1  # half of an update
            interrupt(times=2)
        step(optimizer, gradients)

    with monkeypatch.context() as patch:
        patch.setattr(Momentum, "step", torn_step)
        assert run("numpy", "--data", data, *SMALL, "--epochs", 9, "--out", out) == (130, "", "")
    assert len(history_rows(out)) == 3
    assert not list(out.glob(".*.partial.*"))
    assert_resumes_as_if_unbroken("numpy", data, out, 9)


@pytest.mark.parametrize(
    ("owner", "moment", "times"),
    [(MLP, "save", 2), (results, "draw_curves", 1), (results, "draw_mistakes", 2)],
)
def test_results_are_finished_or_can_be_made_again(data, tmp_path, monkeypatch, owner, moment, times):
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(owner, moment, interrupting(getattr(owner, moment), 1, times))
        assert run("numpy", "--data", data, *SMALL, "--epochs", 5, "--out", out) == (130, "", "")
    assert (out / "summary.json").exists() == (times == 1)
    assert not list(out.glob(".*.partial.*"))
    assert_resumes_as_if_unbroken("numpy", data, out, 5)


def test_the_first_checkpoint_is_finished(data, tmp_path, monkeypatch):
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(training_command, "Checkpoint", interrupting(training_command.Checkpoint, 1))
        assert run("numpy", "--data", data, *SMALL, "--epochs", 5, "--out", out).status == 130
    assert len(history_rows(out)) == 1
    assert_resumes_as_if_unbroken("numpy", data, out, 5)


def test_while_data_are_read_nothing_is_made(data, tmp_path, monkeypatch):
    monkeypatch.setattr(training_command, "load_dataset", interrupting(training_command.load_dataset, 1))
    assert run("numpy", "--data", data, *SMALL, "--out", tmp_path / "out") == (130, "", "")
    assert not (tmp_path / "out").exists()
    assert_refused(run("numpy", "--data", data, *SMALL, "--out", tmp_path / "out", "--resume"), "nothing to resume")


def test_a_polite_kill_saves_too(data, tmp_path, monkeypatch):
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(training_command, "Metrics", interrupting(training_command.Metrics, 3, number=signal.SIGTERM))
        assert run("numpy", "--data", data, *SMALL, "--epochs", 9, "--out", out).status == 128 + signal.SIGTERM
    assert len(history_rows(out)) == 3
    assert_resumes_as_if_unbroken("numpy", data, out, 9)


def test_handlers_are_put_back():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with Interruption(quiet=True) as interruption:
        interrupt()
        assert interruption.status == 130
        with pytest.raises(KeyboardInterrupt):
            interrupt()
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


# as on Windows, or on a system with less still
WITHOUT_SIGTERM = """
import os, signal, sys
if hasattr(signal, "SIGTERM"):
    del signal.SIGTERM
for name in ("sysconf", "sysconf_names"):
    if hasattr(os, name):
        delattr(os, name)
import runpy
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def test_a_system_without_some_signals_or_sysconf_trains_too(data, tmp_path):
    arguments = command("numpy", "--data", data, *SMALL, "--epochs", 2, "--out", tmp_path / "out")
    arguments[1:1] = ["-c", WITHOUT_SIGTERM]
    done = subprocess.run(arguments, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "out" / "summary.json").exists()
