import numpy as np
import pytest
from safetensors.numpy import load_file

from manual_backprop import MLP
from manual_backprop.networks import CNN

NETWORKS = {
    "mlp": lambda dtype: MLP.xavier([16, 7, 6, 5], seed=2, dtype=dtype),
    "cnn": lambda dtype: CNN.xavier(2, dtype, features=16, classes=5, filters=3, hidden=7),
}


@pytest.fixture(params=NETWORKS)
def make(request):
    return NETWORKS[request.param]


@pytest.mark.parametrize("count", [0, 1, 5, 11])
@pytest.mark.parametrize("pixels", [np.uint8, np.float64])
def test_predictions_are_the_logits_of_blocks(rng, make, monkeypatch, count, pixels):
    network = make(np.float64)
    monkeypatch.setattr(type(network), "prediction_rows", 5)
    x = rng.integers(0, 2, (count, 16)).astype(pixels)
    logits = network(x)
    probabilities = network.predict_proba(x)
    exponentials = np.exp(logits)
    assert probabilities.shape == (count, 5)
    # products of a few rows may be added up in another order: some roundings of 1e-16
    np.testing.assert_allclose(probabilities, exponentials / exponentials.sum(axis=1, keepdims=True), rtol=1e-13)
    np.testing.assert_array_equal(network.predict(x), logits.argmax(axis=1))
    if count:
        np.testing.assert_array_equal(network.predict(x.tolist()), network.predict(x.astype(float)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_saved_network_comes_back_exactly(rng, make, tmp_path, dtype):
    network = make(dtype)
    network.backprop(rng.normal(size=(9, 16)), np.arange(9) % 5)  # moves the buffers
    network.save(str(tmp_path / "network.safetensors"))
    loaded = type(network).load(tmp_path / "network.safetensors")
    for arrays, expected in ((loaded.parameters, network.parameters), (loaded.buffers, network.buffers)):
        assert arrays.keys() == expected.keys()
        for name, value in arrays.items():
            np.testing.assert_array_equal(value, expected[name], strict=True)
            assert value.flags.c_contiguous
            assert value.flags.writeable


def test_only_the_weights_of_linear_layers_are_turned_for_pytorch(make, tmp_path):
    network = make(np.float32)
    network.save(tmp_path / "network.safetensors")
    saved = load_file(tmp_path / "network.safetensors")
    for name, value in {**network.parameters, **network.buffers}.items():
        linear = value.ndim == 2
        assert network.is_linear(name) == linear
        np.testing.assert_array_equal(saved[name], value.T if linear else value, strict=True)


def test_a_file_of_another_network_is_refused(tmp_path):
    for make, other in ((NETWORKS["mlp"], CNN), (NETWORKS["cnn"], MLP)):
        make(np.float32).save(tmp_path / "network.safetensors")
        with pytest.raises(ValueError, match=r"network\.safetensors: not the parameters of such a network: .*expected"):
            other.load(tmp_path / "network.safetensors")


def test_dropped_units_of_an_mlp_are_those_of_no_use_and_the_others_count_more(rng):
    mlp = MLP.xavier([16, 7, 6, 5], seed=2, dtype=np.float64, dropout=0.5)
    x, targets = rng.normal(size=(9, 16)), np.arange(9) % 5
    assert NETWORKS["mlp"](np.float64).draw_keep(9, rng) is None
    keep = mlp.draw_keep(10_000, rng)
    assert keep.shape == (10_000, 13)
    assert abs(keep.mean() - 0.5) < 0.01  # 130,000 throws of a coin: seven standard deviations
    row = keep[0]
    loss, gradients = mlp.backprop(x, targets, np.tile(row, (9, 1)))
    smaller = {name: value.copy() for name, value in mlp.parameters.items()}
    for i, kept in ((1, row[:7]), (2, row[7:])):
        smaller[f"layers.{i}.weight"] *= 2 * kept[:, np.newaxis]
    expected, others = MLP(smaller).backprop(x, targets)
    # doubling is exact; the same sums otherwise
    assert loss == pytest.approx(expected, rel=1e-14)
    np.testing.assert_allclose(gradients["layers.0.weight"], others["layers.0.weight"], rtol=0, atol=1e-15)
    np.testing.assert_allclose(
        gradients["layers.2.weight"], others["layers.2.weight"] * 2 * row[7:, np.newaxis], rtol=0, atol=1e-15
    )
