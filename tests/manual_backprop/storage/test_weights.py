import os
import re

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from manual_backprop import MLP
from manual_backprop.storage.weights import load_arrays, save_arrays


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "weights.safetensors"
    MLP.xavier([5, 4, 3], seed=2).save(path)
    return path


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_weights_come_back_exactly(tmp_path, dtype):
    mlp = MLP.xavier([5, 4, 3], seed=2, dtype=dtype)
    mlp.save(tmp_path / "weights.safetensors")
    loaded = MLP.load(tmp_path / "weights.safetensors").parameters
    assert loaded.keys() == mlp.parameters.keys()
    for name, value in loaded.items():
        np.testing.assert_array_equal(value, mlp.parameters[name])
        assert (value.dtype, value.flags.c_contiguous) == (dtype, True)


def test_pytorch_loads_the_file_as_it_is(saved):
    pytest.importorskip("torch")
    from safetensors.torch import load_file as load_tensors

    from torch_reference.networks.mlp import ReferenceMLP

    module = ReferenceMLP([5, 4, 3])
    module.load_state_dict(load_tensors(saved))
    for name, value in module.to_manual().items():
        np.testing.assert_array_equal(value, MLP.xavier([5, 4, 3], seed=2).parameters[name])


def test_every_changed_byte_and_every_cut_is_noticed(saved):
    content = saved.read_bytes()
    for i in range(len(content)):
        saved.write_bytes(content[:i] + bytes([content[i] ^ 1]) + content[i + 1 :])
        assert_refused_or_the_same(saved)
        saved.write_bytes(content[:i])
        with pytest.raises(ValueError, match=r"weights\.safetensors"):
            MLP.load(saved)


def assert_refused_or_the_same(path):
    """A changed space in the header may be without effect; any other change must be refused in one line."""
    try:
        loaded = MLP.load(path).parameters
    except ValueError as error:
        assert str(path) in str(error)
        assert "\n" not in str(error)
    else:
        for name, value in MLP.xavier([5, 4, 3], seed=2).parameters.items():
            np.testing.assert_array_equal(loaded[name], value)


def test_a_file_of_another_origin_is_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file({"layers.0.weight": np.ones((2, 2), np.float32)}, path)
    assert load_file(path)
    with pytest.raises(ValueError, match="does not match its checksum"):
        MLP.load(path)


@pytest.mark.parametrize("value", [np.array([np.nan]), np.array([np.inf], np.float32), np.array([1])])
def test_weights_must_be_finite_floats(tmp_path, value):
    save_arrays(tmp_path / "weights.safetensors", {"layers.0.bias": value})
    with pytest.raises(ValueError, match=r"layers\.0\.bias holds .*not finite"):
        MLP.load(tmp_path / "weights.safetensors")


def test_the_text_travels_with_the_arrays(tmp_path):
    save_arrays(tmp_path / "a.safetensors", {"x": np.arange(3.0)}, "naïve\ntext")
    arrays, text = load_arrays(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(arrays["x"], [0, 1, 2])
    assert text == "naïve\ntext"


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.safetensors"):
        MLP.load(tmp_path / "nothing.safetensors")


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"layers.0.weight": np.ones((3, 2))}, "layers.0.bias"),
        ({"layers.0.weight": np.ones((3, 2)), "layers.0.bias": np.ones(4)}, "do not fit together"),
        ({"layers.0.weight": np.ones((3, 2)), "layers.0.bias": np.ones((3, 1))}, "do not fit together"),
        ({"layers.0.weight": np.array(1.0), "layers.0.bias": np.ones(3)}, "do not fit together"),
        ({"layers.0.weight": np.ones((3, 2), np.float32), "layers.0.bias": np.ones(3)}, "mixes float32 and float64"),
        ({"weight": np.ones(3), "bias": np.ones(3)}, "layers.0.weight, layers.0.bias"),
        ({}, "layers.0.weight, layers.0.bias"),
    ],
)
def test_weights_must_be_those_of_a_network(tmp_path, arrays, words):
    path = tmp_path / "weights.safetensors"
    save_arrays(path, arrays)
    with pytest.raises(ValueError, match=re.escape(words)) as raised:
        MLP.load(path)
    assert str(path) in str(raised.value)


def test_only_a_file_is_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(ValueError, match="not a file"):
            MLP.load(path)


def test_the_same_weights_give_the_same_bytes(saved, tmp_path):
    again = [tmp_path / f"{number}.safetensors" for number in range(5)]
    for path in again:
        MLP.xavier([5, 4, 3], seed=2).save(path)
    assert {path.read_bytes() for path in again} == {saved.read_bytes()}


def test_a_changed_name_is_noticed(tmp_path):
    path = tmp_path / "a.safetensors"
    save_arrays(path, {"one": np.zeros(2), "two": np.ones(2)})
    path.write_bytes(path.read_bytes().replace(b'"one"', b'"oNe"'))
    with pytest.raises(ValueError, match="does not match its checksum"):
        load_arrays(path)
