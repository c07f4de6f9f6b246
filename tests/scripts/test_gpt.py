"""Both commands that train a GPT: what they write, that they agree, resume to the same bits, and refuse in one line."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from training_runs import ENVIRONMENT, Result, assert_refused, command, run, wait_for

from manual_backprop.runs.gpt.folder import GPTFolder
from manual_backprop.storage.weights import load_arrays

torch = pytest.importorskip("torch")

SMALL = ("--layers", 2, "--heads", 2, "--width", 16, "--context", 8, "--batch-size", 5)


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("text") / "text.txt"
    path.write_text("the quick brown fox jumps over the lazy dog; " * 40)
    return path


def history(out):
    with (out / "history.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def outcome(out):
    """What must not depend on interruptions: all of the weights' bits, the sample, and the history but for seconds."""
    rows = [(row["step"], row["train_loss"], row["valid_loss"]) for row in history(out)]
    return (out / "weights.safetensors").read_bytes(), (out / "sample.txt").read_text(), rows


@pytest.fixture(scope="module", params=["gpt_numpy", "gpt_torch"])
def finished(request, text, tmp_path_factory):
    """A side, and the folder of a run of 50 steps in double precision."""
    out = tmp_path_factory.mktemp(request.param) / "out"
    result = run(request.param, "--text", text, *SMALL, "--steps", 50, "--dtype", "float64", "--out", out)
    assert (result.status, result.errors) == (0, "")
    assert result.output.splitlines()[0] == f"{text}: 1620 to train on, 180 to validate, 28 different characters"
    assert result.output.splitlines()[-1] == f"50 steps; the results are in {out}"
    return request.param, out


def test_writes_what_it_promises(finished):
    side, out = finished
    assert {path.name for path in out.iterdir()} == {*GPTFolder.results, "checkpoint.safetensors", ".lock"}
    rows = history(out)
    assert list(rows[0]) == ["step", "train_loss", "valid_loss", "seconds"]
    assert [int(row["step"]) for row in rows] == list(range(1, 51))
    assert [int(row["step"]) for row in rows if row["valid_loss"]] == [10, 20, 30, 40, 50]
    seconds = [float(row["seconds"]) for row in rows]
    assert seconds == sorted(seconds)
    assert float(rows[-1]["valid_loss"]) < float(rows[9]["valid_loss"])
    assert len((out / "sample.txt").read_text()) == 500
    summary = json.loads((out / "summary.json").read_text())
    assert summary["metrics"]["valid_loss"] == float(rows[-1]["valid_loss"])
    assert summary["configuration"]["side"] == side.removeprefix("gpt_")
    assert summary["throughput"]["tokens_per_second"] == pytest.approx(50 * 5 * 8 / seconds[-1])


def test_both_sides_learn_the_same(text, tmp_path):
    """50 steps in double precision, each of which moves a rounding on: the measure is 1e-9."""
    losses, weights = [], []
    for side in ("gpt_numpy", "gpt_torch"):
        options = ("--text", text, *SMALL, "--steps", 50, "--dtype", "float64", "--seed", 3, "--quiet")
        assert run(side, *options, "--out", tmp_path / side).status == 0
        losses.append([float(row["train_loss"]) for row in history(tmp_path / side)])
        weights.append(load_arrays(tmp_path / side / "weights.safetensors")[0])
    np.testing.assert_allclose(losses[0], losses[1], rtol=0, atol=1e-9)
    assert weights[0].keys() == weights[1].keys()
    for name, value in weights[0].items():
        np.testing.assert_allclose(value, weights[1][name], rtol=0, atol=1e-9 * np.abs(value).max())


@pytest.mark.slow
def test_two_processes_learn_what_one_does(text, tmp_path):
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    options = ("--text", text, *SMALL, "--steps", 20, "--dtype", "float64", "--quiet")
    alone, together = tmp_path / "alone", tmp_path / "together"
    assert run("gpt_torch", *options, "--out", alone).status == 0
    script = command("gpt_torch", *options, "--out", together)[1:]
    done = subprocess.run(
        [*torchrun, *script], env=ENVIRONMENT, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    weights = [load_arrays(out / "weights.safetensors")[0] for out in (alone, together)]
    losses = [[float(row["train_loss"]) for row in history(out)] for out in (alone, together)]
    # each gradient is added up in another order: some roundings of 1e-16 a step
    np.testing.assert_allclose(*losses, rtol=0, atol=1e-12)
    for name, value in weights[0].items():
        np.testing.assert_allclose(value, weights[1][name], rtol=0, atol=1e-11 * np.abs(value).max())


@pytest.mark.parametrize("finished", ["gpt_numpy", pytest.param("gpt_torch", marks=pytest.mark.slow)], indirect=True)
def test_resumes_to_the_same_bits_after_an_interruption(finished, text, tmp_path):
    side, unbroken = finished
    out = tmp_path / "out"
    options = ("--text", text, *SMALL, "--steps", 50, "--dtype", "float64", "--out", out)
    started = subprocess.Popen(command(side, *options), env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for(out / "checkpoint.safetensors", started)
    started.send_signal(signal.SIGINT)
    _, errors = started.communicate(timeout=60)
    assert started.returncode in (130, 0), errors  # 0: it had ended
    assert b"Traceback" not in errors
    assert run(side, *options, "--resume", "--quiet").status == 0
    assert outcome(out) == outcome(unbroken)


@pytest.mark.slow
@pytest.mark.parametrize("side", ["gpt_numpy", "gpt_torch"])
def test_ten_kills_change_no_bit(side, text, tmp_path):
    options = ("--text", text, *SMALL, "--steps", 3000, "--quiet")
    out, unbroken = tmp_path / "out", tmp_path / "unbroken"
    assert run(side, *options, "--out", unbroken).status == 0
    rng = np.random.default_rng(0)
    for kill in range(10):
        checkpoint = out / "checkpoint.safetensors"
        before = checkpoint.stat().st_mtime_ns if kill else 0
        started = subprocess.Popen(command(side, *options, *["--resume"] * bool(kill), "--out", out), env=ENVIRONMENT)
        while not checkpoint.exists() or checkpoint.stat().st_mtime_ns == before:  # it has read the one before
            assert started.poll() is None
            time.sleep(0.01)
        time.sleep(rng.uniform(0, 6))  # a run may end before
        os.kill(started.pid, signal.SIGKILL)
        started.wait()
    assert run(side, *options, "--resume", "--out", out).status == 0
    assert outcome(out) == outcome(unbroken)


def test_a_finished_run_resumes_to_itself(finished, text):
    side, out = finished
    before = outcome(out)
    options = ("--text", text, *SMALL, "--steps", 50, "--dtype", "float64", "--out", out, "--resume", "--quiet")
    assert run(side, *options) == Result(0, "", "")
    assert outcome(out) == before


def test_refuses_in_one_line(finished, text, tmp_path):
    side, out = finished
    new = ("--out", tmp_path / "new")
    assert_refused(run(side, "--text", tmp_path / "none", *new), "none: No such file or directory")
    assert_refused(run(side, "--text", tmp_path, *new), "Is a directory")
    assert_refused(run(side, "--text", text, "--heads", 3, *new), "width: expected a multiple of 3 heads, got 128")
    assert_refused(run(side, "--text", text, "--context", 500, *new), "1800 characters are too few")
    assert_refused(run(side, "--text", text, "--steps", 0, *new), "--steps: expected a whole number from 1")
    assert_refused(
        run(side, "--text", text, "--width", 2**20, *new), "--layers, --width, --context, --batch-size: this"
    )
    assert_refused(run(side, "--text", text, *new, "--resume"), "nothing to resume")
    assert not (tmp_path / "new").exists()
    other = run(side, "--text", text, *SMALL, "--steps", 60, "--dtype", "float64", "--out", out, "--resume")
    assert_refused(other, "holds a run with steps = 50, but this one has 60")


def test_says_when_training_diverges(text, tmp_path):
    result = run(
        "gpt_numpy", "--text", text, *SMALL, "--steps", 40, "--learning-rate", 1e30, "--out", tmp_path, "--quiet"
    )
    assert result.status == 1
    assert result.errors.startswith("error: ")
    assert result.errors.count("\n") == 1


def test_refuses_cuda_where_there_is_none(text, tmp_path):
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    assert_refused(run("gpt_torch", "--text", text, "--cuda", "--out", tmp_path), "PyTorch finds no CUDA device here")
