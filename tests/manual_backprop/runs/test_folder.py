import json
import re
import subprocess
import sys
import threading

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from training_runs import ENVIRONMENT

from manual_backprop import MLP
from manual_backprop.history import DivergenceError, History, Metrics
from manual_backprop.runs import folder as run_folder
from manual_backprop.storage.weights import load_arrays, save_arrays

Checkpoint, RunFolder = run_folder.Checkpoint, run_folder.RunFolder

CONFIGURATION = {"sizes": [5, 4, 3], "dtype": "float32", "seed": 1, "learning_rate": 0.1, "batch_size": None}


def some_checkpoint(epochs=2, dtype=np.float32):
    mlp = MLP.xavier([5, 4, 3], seed=1, dtype=dtype)
    velocity = {name: np.full_like(value, 0.5) for name, value in mlp.parameters.items()}
    history = History()
    for epoch in range(epochs):
        history.append(Metrics(1 / (epoch + 1), 0.1, np.nan, np.nan), 0.3 * (epoch + 1))
    state = {"parameters": mlp.parameters, "velocity": velocity}
    return Checkpoint(state, 7, history, CONFIGURATION | {"dtype": np.dtype(dtype).name})


def load(folder, configuration=CONFIGURATION):
    parameters = MLP.xavier(configuration["sizes"], dtype=configuration["dtype"]).parameters
    return folder.load_checkpoint(configuration, {"parameters": parameters, "velocity": parameters}, MLP)


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("epochs", [0, 3])
def test_a_checkpoint_comes_back_exactly(folder, dtype, epochs):
    saved = some_checkpoint(epochs, dtype)
    folder.save_checkpoint(saved)
    loaded = load(folder, saved.configuration)
    assert loaded.configuration == saved.configuration
    assert loaded.steps == saved.steps
    assert repr(list(loaded.history.rows())) == repr(list(saved.history.rows()))  # repr: NaN too
    for kind in ("parameters", "velocity"):
        before, after = saved.state[kind], loaded.state[kind]
        assert before.keys() == after.keys()
        for name, value in after.items():
            np.testing.assert_array_equal(value, before[name])
            assert value.dtype == dtype
            assert value.flags.writeable  # training goes on in place


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["parameters", "velocity"])
def test_what_is_not_finite_is_not_saved(folder, kind, value):
    folder.save_checkpoint(some_checkpoint(2))
    broken = some_checkpoint(7)
    broken.state[kind]["layers.1.bias"][1] = value
    with pytest.raises(DivergenceError, match=r"layers\.1\.bias became infinite in epoch 7: the learning rate"):
        folder.save_checkpoint(broken)
    assert len(load(folder).history) == 2


def test_resuming_needs_a_checkpoint(tmp_path):
    with pytest.raises(ValueError, match=r"--resume: nothing to resume, .*checkpoint\.safetensors does not exist"):
        load(RunFolder(tmp_path / "nothing"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"seed": 2}, "seed = 1, but this one has 2"),
        ({"batch_size": 10}, "batch_size = None, but this one has 10"),
        ({"sizes": [5, 6, 3]}, "sizes = [5, 4, 3], but this one has [5, 6, 3]"),
        ({"new_option": 1}, "new_option = None, but this one has 1"),
    ],
)
def test_another_configuration_is_refused(folder, changes, words):
    folder.save_checkpoint(some_checkpoint())
    with pytest.raises(ValueError, match=re.escape(words)):
        load(folder, CONFIGURATION | changes)


def test_a_setting_that_this_version_does_not_know_is_refused(folder):
    checkpoint = some_checkpoint()
    folder.save_checkpoint(Checkpoint(**vars(checkpoint) | {"configuration": CONFIGURATION | {"weight_decay": 0.1}}))
    with pytest.raises(ValueError, match=r"weight_decay = 0\.1, but this one has None"):
        load(folder)


def rewritten(folder, change):
    """Change a checkpoint's arrays by `change`, or its text, and write them with a valid checksum."""
    folder.save_checkpoint(some_checkpoint())
    arrays, text = load_arrays(folder.checkpoint_path)
    text = change(arrays) or text
    save_arrays(folder.checkpoint_path, arrays, text)


def replacement(key, value):
    return lambda arrays: arrays.update({key: value})


def removal(key):
    return lambda arrays: arrays.__delitem__(key)


WEIGHT = "parameters/layers.0.weight"
HOSTILE = {
    "text is no JSON": lambda _: "{",
    "text is a list": lambda _: "[1, 2]",
    "text is a number": lambda _: "7",
    "text is nested deeply": lambda _: "[" * 100_000,
    "text is of another project": lambda _: '{"format": "pt"}',
    "a weight is missing": removal(WEIGHT),
    "a velocity is missing": removal("velocity/layers.1.bias"),
    "history is missing": removal("history"),
    "steps are missing": removal("steps"),
    "steps are a row": replacement("steps", np.zeros(1, np.int64)),
    "one array too many": replacement("parameters/layers.2.weight", np.zeros((3, 3), np.float32)),
    "a name without a kind": replacement("weight", np.zeros(3, np.float32)),
    "a kind that does not exist": replacement("momentum/layers.0.bias", np.zeros(4, np.float32)),
    "a name with two slashes": replacement("parameters/layers.0.weight/x", np.zeros(4, np.float32)),
    "a weight is transposed": replacement(WEIGHT, np.zeros((4, 5), np.float32)),
    "a velocity is transposed": replacement("velocity/layers.0.weight", np.zeros((4, 5), np.float32)),
    "a weight is of a wider type": replacement(WEIGHT, np.zeros((5, 4))),
    "a weight is of whole numbers": replacement(WEIGHT, np.zeros((5, 4), np.int32)),
    "a weight is NaN": replacement(WEIGHT, np.full((5, 4), np.nan, np.float32)),
    "a velocity is infinite": replacement("velocity/layers.0.bias", np.full(4, np.inf, np.float32)),
    "history has four columns": replacement("history", np.ones((2, 4))),
    "history has one axis": replacement("history", np.ones(5)),
    "history has no axis": replacement("history", np.array(1.0)),
    "history is of float32": replacement("history", np.ones((2, 5), np.float32)),
    "a training loss is NaN": replacement("history", np.array([[np.nan, 0, 0, 0, 1.0]])),
    "a validation loss is infinite": replacement("history", np.array([[1, 0, np.inf, 0, 1.0]])),
    "seconds are NaN": replacement("history", np.array([[1, 0, 1, 0, np.nan]])),
    "seconds are zero": replacement("history", np.array([[1, 0, 1, 0, 0.0]])),
}


@pytest.mark.parametrize("change", HOSTILE.values(), ids=HOSTILE)
def test_a_checkpoint_with_odd_content_is_refused_though_its_checksum_is_right(folder, change):
    rewritten(folder, change)
    with pytest.raises(ValueError, match=r"\A--resume: .*\Z") as raised:  # one line: . is no line break
        load(folder)
    assert str(folder.path) in str(raised.value)


def test_the_same_checkpoint_rewritten_without_a_change_is_accepted(folder):
    rewritten(folder, lambda _: None)
    assert len(load(folder).history) == 2


# the fixture is only a path, so that every example may use the same one
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_checkpoint_with_changed_bytes_is_refused_or_the_same(folder, data):
    saved = some_checkpoint()
    folder.save_checkpoint(saved)
    content = folder.checkpoint_path.read_bytes()
    start = data.draw(st.integers(0, len(content) - 1))
    removed = data.draw(st.sampled_from([1, 1, 1, 0, 20, len(content)]))
    folder.checkpoint_path.write_bytes(content[:start] + data.draw(st.binary(max_size=3)) + content[start + removed :])
    try:
        loaded = load(folder)
    except ValueError as error:
        assert str(folder.path) in str(error)
        assert "\n" not in str(error)
    else:
        np.testing.assert_array_equal(list(loaded.history.rows()), list(saved.history.rows()))
        for kind, values in saved.state.items():
            for name, value in values.items():
                np.testing.assert_array_equal(loaded.state[kind][name], value)


def test_weights_of_another_network_beside_the_checkpoint_are_refused(folder):
    folder.save_checkpoint(some_checkpoint())
    MLP.xavier([5, 6, 3]).save(folder.weights_path)
    with pytest.raises(ValueError, match=r"weights\.safetensors is of another network; remove it"):
        load(folder)


def test_damaged_weights_beside_the_checkpoint_are_refused(folder):
    folder.save_checkpoint(some_checkpoint())
    folder.weights_path.write_bytes(b"damaged")
    with pytest.raises(ValueError, match=r"weights\.safetensors: not a safetensors file .*; remove it"):
        load(folder)


def test_results_of_an_earlier_run_do_not_stop_a_run_that_was_killed_before_its_first_epoch(folder):
    MLP.xavier([5, 6, 3]).save(folder.weights_path)
    folder.save_checkpoint(some_checkpoint(epochs=0))
    assert len(load(folder).history) == 0


def test_opening_makes_the_folder_and_removes_what_a_killed_run_left_half_written(tmp_path):
    folder = RunFolder(tmp_path / "a" / "b")
    folder.path.mkdir(parents=True)
    (folder.path / ".checkpoint.123.partial.safetensors").write_bytes(b"half")
    (folder.path / "notes.txt").write_text("the user's own")
    with folder.opened():
        pass
    assert sorted(path.name for path in folder.path.iterdir()) == [".lock", "notes.txt"]


def test_only_results_are_removed(folder):
    for name in (*run_folder.RESULTS, "checkpoint.safetensors", "notes.txt"):
        (folder.path / name).write_text("")
    folder.remove_results()
    assert sorted(path.name for path in folder.path.iterdir()) == ["checkpoint.safetensors", "notes.txt"]


def open_elsewhere(path):
    """Try to open a folder from another process; return what that says."""
    code = (
        "import sys, pathlib\n"
        "from manual_backprop.runs.folder import RunFolder\n"
        "with RunFolder(pathlib.Path(sys.argv[1])).opened(): print('open')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False, env=ENVIRONMENT
    )
    return done.stdout + done.stderr


def test_one_run_holds_the_folder(folder):
    with folder.opened():
        half_written = folder.path / ".checkpoint.1.partial.safetensors"
        half_written.write_bytes(b"the first run is at it")
        assert "another run is writing there" in open_elsewhere(folder.path)
        assert half_written.exists()
    assert open_elsewhere(folder.path) == "open\n"


@pytest.mark.parametrize("out", ["file", "file/below"])
def test_a_file_is_no_folder(tmp_path, out):
    (tmp_path / "file").write_text("precious")
    with pytest.raises((ValueError, OSError)) as raised, RunFolder(tmp_path / out).opened():
        pass
    assert str(tmp_path / out) in str(raised.value)
    assert (tmp_path / "file").read_text() == "precious"


def test_a_reader_sees_whole_checkpoints_while_they_are_replaced(folder):
    stop = threading.Event()
    seen = []
    folder.save_checkpoint(some_checkpoint(0))

    def read():
        while not stop.is_set():
            seen.append(len(load(folder).history))

    reader = threading.Thread(target=read)
    reader.start()
    for epochs in range(1, 31):
        folder.save_checkpoint(some_checkpoint(epochs))
    stop.set()
    reader.join()
    assert seen == sorted(seen)
    assert len(set(seen)) > 1


def test_summary_is_strict_json(folder):
    folder.write_summary({"metrics": {"valid_loss": None}})
    assert json.loads((folder.path / "summary.json").read_text()) == {"metrics": {"valid_loss": None}}
    with pytest.raises(ValueError, match="JSON"):
        folder.write_summary({"metrics": {"valid_loss": np.nan}})
    assert json.loads((folder.path / "summary.json").read_text()) == {"metrics": {"valid_loss": None}}
