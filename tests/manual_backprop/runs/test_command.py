import json
import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from training_runs import (
    ENVIRONMENT,
    Result,
    assert_refused,
    command,
    history_rows,
    outcome,
    run,
    run_process,
    wait_for,
    write_tiny,
)

from manual_backprop import MLP, load_dataset, train
from manual_backprop.runs import command as training_command
from manual_backprop.runs.folder import RESULTS as RUN_RESULTS
from manual_backprop.storage.weights import load_arrays

RESULTS = {*RUN_RESULTS, "checkpoint.safetensors", ".lock"}
SMALL = ("--hidden", 8, "--quiet")


@pytest.fixture(params=["numpy", "torch"])
def side(request):
    if request.param == "torch":
        pytest.importorskip("torch")
    return request.param


@pytest.fixture
def data(tmp_path):
    return write_tiny(tmp_path / "tiny.npz")


@pytest.fixture(scope="module")
def finished_run(tmp_path_factory):
    """The folder of a run of 2 epochs, with its data."""
    folder = tmp_path_factory.mktemp("finished")
    data = write_tiny(folder / "tiny.npz")
    assert run("numpy", "--data", data, *SMALL, "--epochs", 2, "--out", folder / "out").status == 0
    return folder


@pytest.fixture
def finished(finished_run, tmp_path):
    """The options that resume a copy of that run, and its folder."""
    out = shutil.copytree(finished_run / "out", tmp_path / "out")
    return ("--data", finished_run / "tiny.npz", *SMALL, "--epochs", 2, "--resume", "--out", out), out


def assert_same_outcome(first, second):
    assert outcome(first) == outcome(second)


def test_the_command_writes_what_it_promises(side, data, tmp_path):
    out = tmp_path / "out"
    result = run_process(side, "--data", data, "--hidden", 8, 6, "--epochs", 25, "--out", out)
    assert (result.status, result.errors) == (0, "")
    assert {path.name for path in out.iterdir()} == RESULTS

    lines = result.output.splitlines()
    assert lines[0] == "npz file tiny.npz (60 images): 42 to train on, 12 to validate, 6 to test"
    epochs = [line.split(":")[0] for line in lines if line.startswith("epoch")]
    assert epochs == [f"epoch {epoch}/25" for epoch in (1, 3, 6, 9, 12, 15, 18, 21, 24)]
    assert lines[-1] == f"25 epochs; the results are in {out}"

    rows = history_rows(out)
    assert [int(row[0]) for row in rows] == list(range(1, 26))
    seconds = [float(row[-1]) for row in rows]
    assert seconds == sorted(seconds)

    for name in ("curves.png", "hidden_units.png", "mistakes.png"):
        assert (out / name).read_bytes().startswith(b"\x89PNG")

    summary = json.loads((out / "summary.json").read_text())
    assert summary["configuration"]["sizes"] == [16, 8, 6, 10]
    assert summary["configuration"]["epochs"] == 25
    assert summary["versions"].keys() == {"python", "numpy"} | ({"torch"} if side == "torch" else set())
    assert summary["metrics"].keys() == {f"{s}_{k}" for s in ("train", "valid", "test") for k in ("loss", "accuracy")}
    assert all(value > 0 for value in summary["throughput"].values())

    weights = MLP.load(out / "weights.safetensors").parameters
    assert MLP(weights).sizes == (16, 8, 6, 10)
    saved = load_arrays(out / "checkpoint.safetensors")[0]
    for name, value in weights.items():
        np.testing.assert_array_equal(saved[f"parameters/{name}"], value)


def test_a_cnn_leaves_all_results_too(data, tmp_path):
    out = tmp_path / "out"
    options = ("--data", data, "--network", "cnn", "--hidden", 8, "--epochs", 1, "--quiet", "--out", out)
    assert run_process("numpy", *options) == (0, "", "")
    assert {path.name for path in out.iterdir()} == RESULTS
    assert (out / "hidden_units.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_does_what_train_does(data, tmp_path):
    options = ("--data", data, *SMALL, "--epochs", 4, "--batch-size", 9, "--seed", 2, "--out", tmp_path / "out")
    assert run("numpy", *options).status == 0
    mlp = MLP.xavier([16, 8, 10], seed=2)
    history = train(mlp, load_dataset(data), epochs=4, batch_size=9, seed=2)
    figures = [tuple(float(text) for text in row[1:-1]) for row in history_rows(tmp_path / "out")]
    assert figures == [row[:-1] for row in history.rows()]  # exactly: nothing is rounded
    for name, value in MLP.load(tmp_path / "out" / "weights.safetensors").parameters.items():
        np.testing.assert_array_equal(value, mlp.parameters[name])


def test_quiet_prints_nothing(side, data, tmp_path):
    result = run(side, "--data", data, *SMALL, "--epochs", 3, "--out", tmp_path / "out")
    assert result == (0, "", "")


def test_a_set_without_validation_and_test_examples(side, data, tmp_path):
    out = tmp_path / "out"
    assert run(side, "--data", data, "--split", 9, 0, 0, *SMALL, "--epochs", 3, "--out", out).status == 0
    assert {row[3] for row in history_rows(out)} == {"nan"}
    metrics = json.loads((out / "summary.json").read_text())["metrics"]
    assert (metrics["valid_loss"], metrics["test_accuracy"]) == (None, None)
    assert run(side, "--data", data, "--split", 9, 0, 0, *SMALL, "--epochs", 4, "--out", out, "--resume").status == 0


# float64 rounds at 1e-16; two ways to add up the same sums make the sides drift apart by some 1e-15 in these 40 epochs.
# 1e-9 is what the project promises, and far from any wrong formula.
MLP_OPTIONS = ("--hidden", 8, 6, "--epochs", 40)
CNN_OPTIONS = ("--network", "cnn", "--hidden", 12, "--epochs", 5, "--learning-rate", 0.01)
SETTINGS = {
    "full batch": MLP_OPTIONS,
    "minibatches": (*MLP_OPTIONS, "--batch-size", 10),
    "one large minibatch": (*MLP_OPTIONS, "--batch-size", 1000),
    "dropout": (*MLP_OPTIONS, "--dropout", 0.3),
    "dropout, minibatches": (*MLP_OPTIONS, "--dropout", 0.3, "--batch-size", 10),
    "adam": (*MLP_OPTIONS, "--optimizer", "adam", "--weight-decay", 0.1),
    "adamw, minibatches": (*MLP_OPTIONS, "--optimizer", "adamw", "--batch-size", 10),
    "cnn": (*CNN_OPTIONS, "--dropout", 0.5, "--weight-decay", 0.1),
    "cnn, momentum": (*CNN_OPTIONS, "--optimizer", "momentum", "--batch-size", 9),
}


@pytest.mark.parametrize("options", SETTINGS.values(), ids=SETTINGS)
def test_both_sides_end_in_the_same_figures(data, tmp_path, options):
    pytest.importorskip("torch")
    for name in ("numpy", "torch"):
        common = ("--data", data, "--dtype", "float64", "--seed", 5, "--quiet")
        assert run(name, *common, *options, "--out", tmp_path / name) == (0, "", "")
    here, there = (history_rows(tmp_path / name) for name in ("numpy", "torch"))
    assert len(here) == len(there) == options[options.index("--epochs") + 1]
    for row, other in zip(here, there, strict=True):
        np.testing.assert_allclose(np.array(row[:-1], float), np.array(other[:-1], float), rtol=0, atol=1e-9)
    weights, others = (load_arrays(tmp_path / name / "weights.safetensors")[0] for name in ("numpy", "torch"))
    assert weights.keys() == others.keys()
    for name, value in weights.items():
        np.testing.assert_allclose(value, others[name], rtol=0, atol=1e-9 * np.abs(value).max())


@pytest.mark.parametrize("options", [SETTINGS["dropout, minibatches"], SETTINGS["adam"], SETTINGS["cnn"]])
def test_any_network_and_optimizer_can_be_resumed(side, data, tmp_path, options):
    for name, epochs in (("unbroken", [4]), ("parts", [1, 4])):
        for count in epochs:
            resume = ("--resume",) if count != epochs[0] else ()
            done = run(side, "--data", data, *options, "--epochs", count, "--quiet", "--out", tmp_path / name, *resume)
            assert done == (0, "", "")
    assert_same_outcome(tmp_path / "parts", tmp_path / "unbroken")


def test_pytorch_loads_the_weights_of_either_side(side, data, tmp_path):
    pytest.importorskip("torch")
    from safetensors.torch import load_file

    from torch_reference.networks.mlp import ReferenceMLP

    assert run(side, "--data", data, *SMALL, "--epochs", 2, "--out", tmp_path).status == 0
    module = ReferenceMLP([16, 8, 10])
    module.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    for name, value in module.to_manual().items():
        np.testing.assert_array_equal(value, MLP.load(tmp_path / "weights.safetensors").parameters[name])


def test_one_seed_gives_one_outcome_and_another_seed_another(side, data, tmp_path):
    for name, seed in (("first", 3), ("second", 3), ("other", 4)):
        options = ("--data", data, *SMALL, "--epochs", 5, "--batch-size", 9, "--seed", seed)
        assert run(side, *options, "--out", tmp_path / name).status == 0
    assert_same_outcome(tmp_path / "first", tmp_path / "second")
    assert outcome(tmp_path / "first") != outcome(tmp_path / "other")


def test_a_seed_may_be_huge(data, tmp_path):
    options = ("--data", data, *SMALL, "--batch-size", 9, "--seed", 2**200, "--out", tmp_path / "out")
    assert run("numpy", *options, "--epochs", 2).status == 0
    assert run("numpy", *options, "--epochs", 3, "--resume").status == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--data", "nothing.npz"), ["nothing.npz"]),
        (("--split", 61, 0, 0), ["61", "60"]),
        (("--split", 0, 1, 1), ["split 0 1 1"]),
        (("--hidden", 2_000_000_000), ["--hidden", "GiB"]),
        (("--hidden", *([1_000_000] * 5)), ["--hidden", "GiB"]),
        (("--out", "tiny.npz"), ["tiny.npz", "is a file"]),
        (("--out", "tiny.npz/below"), ["tiny.npz/below"]),
        (("--out", "/proc/nothing"), ["/proc/nothing"]),
        (("--out", "n" * 300), ["File name too long"]),
        (("--resume",), ["nothing to resume"]),
        (("--epochs", 0), ["--epochs"]),
    ],
)
def test_what_cannot_run_ends_in_one_line(options, words, data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = data.read_bytes()
    assert_refused(run("numpy", "--data", data, "--out", "out", "--epochs", 2, *options), *words)
    assert [path.name for path in tmp_path.iterdir()] == [data.name]
    assert data.read_bytes() == before


def test_cuda_without_a_device_is_refused(data, tmp_path):
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    assert_refused(run("torch", "--data", data, "--cuda", "--quiet", "--out", tmp_path / "out"), "--cuda")
    assert not (tmp_path / "out").exists()


def test_without_pytorch_one_side_says_so_and_the_other_trains(data, tmp_path):
    (tmp_path / "torch.py").write_text("raise ModuleNotFoundError('No module named torch', name='torch')")
    environment = ENVIRONMENT | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ENVIRONMENT['PYTHONPATH']}"}
    options = ("--data", data, *SMALL, "--epochs", 2, "--out", tmp_path / "out")
    assert_refused(run_process("torch", *options, env=environment), "PyTorch is not installed")
    assert not (tmp_path / "out").exists()
    assert run_process("numpy", *options, env=environment) == (0, "", "")


def on_a_disk(tmp_path, mount_options, *options):
    """Run where ./disk is a tmpfs that only this process sees; afterwards ./seen is a copy of it."""
    if sys.platform != "linux":
        pytest.skip("needs Linux's unshare and tmpfs")
    (tmp_path / "disk").mkdir()
    script = 'mount -t tmpfs -o "$0" tmpfs disk || exit 77; "$@"; status=$?; cp -r disk seen; exit $status'
    done = subprocess.run(
        ["unshare", "-rm", "sh", "-c", script, mount_options, *command("numpy", *options)],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode == 77 or "unshare:" in done.stderr:
        pytest.skip(f"no file system can be mounted here: {done.stderr}")
    return Result(done.returncode, done.stdout, done.stderr)


def test_a_read_only_folder_is_refused(data, tmp_path):
    assert_refused(on_a_disk(tmp_path, "ro", "--data", data, *SMALL, "--out", "disk"), "disk", "Read-only")
    assert list((tmp_path / "seen").iterdir()) == []


def test_a_disk_too_small_for_a_checkpoint_is_refused(data, tmp_path):
    result = on_a_disk(tmp_path, "size=4k", "--data", data, "--hidden", 100, "--quiet", "--out", "disk")
    assert_refused(result, "disk/checkpoint.safetensors: No space left on device")
    assert [path.name for path in (tmp_path / "seen").iterdir()] == [".lock"]


def test_a_disk_that_is_full_when_results_are_written_keeps_the_checkpoint(data, tmp_path):
    result = on_a_disk(tmp_path, "size=32k", "--data", data, *SMALL, "--epochs", 5, "--out", "disk")
    assert_refused(result, "disk/curves.png: No space left on device")
    seen = tmp_path / "seen"
    assert not list(seen.glob(".*.partial.*"))
    assert not (seen / "curves.png").exists()
    assert run("numpy", "--data", data, *SMALL, "--epochs", 5, "--out", seen, "--resume").status == 0
    assert run("numpy", "--data", data, *SMALL, "--epochs", 5, "--out", tmp_path / "unbroken").status == 0
    assert_same_outcome(seen, tmp_path / "unbroken")


def test_a_full_disk_leaves_the_earlier_runs_files_alone(data, tmp_path):
    out = tmp_path / "out"
    options = ("--data", data, *SMALL, "--epochs", 2, "--out", out)
    assert run("numpy", *options).status == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    # a limit on the size of files stands for the full disk; Python ignores the signal that comes with it
    limited = ["sh", "-c", 'ulimit -f 1; exec "$@"', "sh", *command("numpy", *options, "--hidden", 500)]
    done = subprocess.run(limited, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert_refused(Result(done.returncode, done.stdout, done.stderr), "checkpoint.safetensors: File too large")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_run_may_be_resumed_again_and_again_for_more_epochs(side, data, tmp_path):
    common = ("--data", data, *SMALL, "--batch-size", 9)
    for epochs in (2, 3, 3, 7):
        resume = ("--resume",) if epochs > 2 else ()
        assert run(side, *common, "--epochs", epochs, "--out", tmp_path / "resumed", *resume).status == 0
    assert run(side, *common, "--epochs", 7, "--out", tmp_path / "unbroken").status == 0
    assert_same_outcome(tmp_path / "resumed", tmp_path / "unbroken")
    seconds = [float(row[-1]) for row in history_rows(tmp_path / "resumed")]
    assert seconds == sorted(seconds)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--seed", 1), "seed"),
        (("--hidden", 9), "hidden"),
        (("--batch-size", 9), "batch_size"),
        (("--learning-rate", 0.2), "learning_rate"),
        (("--dtype", "float64"), "dtype"),
        (("--split", 30, 20, 10), "split"),
        (("--epochs", 1), "--epochs 1"),
    ],
)
def test_a_run_cannot_be_resumed_as_another(finished, options, words):
    resume, out = finished
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert_refused(run("numpy", *resume, *options), words)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before


def test_a_run_cannot_be_resumed_by_the_other_side(finished):
    pytest.importorskip("torch")
    assert_refused(run("torch", *finished[0]), "side = numpy, but this one has torch")


def test_a_run_cannot_be_resumed_on_other_images(finished, tmp_path):
    other = write_tiny(tmp_path / "tiny.npz", seed=4)  # the same name, count and labels
    assert_refused(run("numpy", *finished[0], "--data", other), "data_crc32")


# what else may be wrong with their content is proved where they are read
@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-1] + b"!"),
        lambda path: path.unlink() or path.mkdir(),
        lambda path: path.unlink() or os.mkfifo(path),
    ],
    ids=["changed", "a folder", "a pipe"],
)
@pytest.mark.parametrize("name", ["weights.safetensors", "checkpoint.safetensors"])
def test_damaged_files_are_not_resumed_from(finished, name, damage):
    resume, out = finished
    damage(out / name)
    assert_refused(run("numpy", *resume), name)


@pytest.mark.parametrize("options", [(), ("--batch-size", 9)])
def test_divergence_names_the_epoch_and_keeps_what_was_finite(side, data, tmp_path, monkeypatch, options):
    monkeypatch.setattr(training_command, "CHECKPOINT_SECONDS", 0)
    out = tmp_path / "out"
    result = run(side, "--data", data, *SMALL, "--learning-rate", 1e30, *options, "--out", out)
    assert result.status == 1
    assert result.errors.startswith("error: ")
    assert result.errors.count("\n") == 1
    rows = history_rows(out)
    assert f"epoch {len(rows) + 1}:" in result.errors or f"epoch {len(rows)}:" in result.errors
    assert "learning rate" in result.errors
    assert all(np.isfinite(float(text)) for row in rows for text in row)
    saved = load_arrays(out / "checkpoint.safetensors")[0]
    assert all(np.isfinite(value).all() for value in saved.values())
    assert len(saved["history"]) <= len(rows)
    assert not (out / "weights.safetensors").exists()


def test_a_new_run_removes_the_results_of_an_earlier_one(finished):
    _, out = finished
    options = ("--data", out.parent / "tiny.npz", *SMALL, "--learning-rate", 1e30, "--out", out)
    write_tiny(out.parent / "tiny.npz")
    assert run("numpy", *options).status == 1
    assert {path.name for path in out.iterdir()} == {".lock", "checkpoint.safetensors", "history.csv"}


def test_weights_that_are_finite_but_useless_are_divergence_too(data, tmp_path):
    # the only update leaves weights of 1e26 or so: finite, but the logits that they give are not
    options = ("--data", data, *SMALL, "--epochs", 1, "--learning-rate", 1e28, "--out", tmp_path / "out")
    result = run("numpy", *options)
    assert result.status == 1
    assert "after epoch 1: the learning rate is likely too high" in result.errors
    assert result.errors.count("\n") == 1


def test_a_second_run_into_one_folder_is_told_and_the_first_goes_on(data, tmp_path):
    out = tmp_path / "out"
    options = ("--data", data, *SMALL, "--epochs", 10**9, "--out", out)
    with subprocess.Popen(command("numpy", *options), env=ENVIRONMENT, stderr=subprocess.PIPE, text=True) as first:
        wait_for(out / "checkpoint.safetensors", first)
        assert_refused(run("numpy", *options), "another run is writing there")
        assert_refused(run("numpy", *options, "--resume"), "another run is writing there")
        first.send_signal(signal.SIGINT)
        assert first.communicate(timeout=60)[1] == ""
        assert first.returncode == 130
    assert {path.name for path in out.iterdir()} == RESULTS


@pytest.mark.slow
def test_threads_do_not_change_the_outcome(data, tmp_path):
    data = write_tiny(data, count=3000)  # enough for several blocks
    for threads in ("1", "2"):
        options = ("--data", data, "--hidden", 50, "--quiet", "--epochs", 2, "--out", tmp_path / threads)
        assert run_process("numpy", *options, env=ENVIRONMENT | {"OMP_NUM_THREADS": threads}).status == 0
    assert_same_outcome(tmp_path / "1", tmp_path / "2")
