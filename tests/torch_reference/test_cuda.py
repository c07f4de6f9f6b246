"""PyTorch's gradients as the training loop computes them, against `MLP.backprop` and to rounding.

Where there is a GPU: eager, from a captured graph, and with TF32. The CPU's loop runs the same tests everywhere.
"""

import numpy as np
import pytest

from manual_backprop import MLP

torch = pytest.importorskip("torch")
from torch.nn.functional import cross_entropy, relu  # noqa: E402 (needs torch)

from torch_reference import ReferenceMLP, crosscheck  # noqa: E402
from torch_reference import training as loop  # noqa: E402
from torch_reference.optimizer import matched_sgd  # noqa: E402

GPU = pytest.param(
    "cuda",
    marks=[
        pytest.mark.cuda,
        pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and PyTorch finds none"),
    ],
)
DEVICES = pytest.mark.parametrize("device", ["cpu", GPU])
EPOCHS = {"eager": 1, "captured": 3}  # the second epoch is captured; a graph gives the gradient of the third


def draw(seed, sizes, count, dtype=np.float32):
    """Random rows, labels and weights, under the names that the check's functions take."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, sizes[0])).astype(dtype)
    parameters = MLP.xavier(sizes, seed, dtype).parameters
    named = {name.replace(".", "_"): value for name, value in parameters.items()}
    return {"x": x, "labels": rng.integers(0, sizes[-1], count)} | named


def network(inputs):
    return MLP({name.replace("_", "."): value for name, value in inputs.items() if name.startswith("layers")})


def gradients(device, way="eager"):
    """What the loop leaves in `parameter.grad`, as a function of the inputs; no weight moves on the way."""

    def manual(x, labels, **parameters):
        module = ReferenceMLP.from_manual(network(parameters)).to(device)
        optimizer = matched_sgd(module, learning_rate=0, initial_velocity=0)
        train = loop.to_examples(x, labels, like=next(module.parameters()))
        valid = (train[0][:0], train[1][:0])
        for _ in loop.train_epochs(module, optimizer, train, valid, range(EPOCHS[way]), lambda epoch: [slice(None)]):
            pass
        grads = {name: value.grad.cpu().numpy().T for name, value in module.named_parameters()}
        return {name.replace(".", "_"): np.ascontiguousarray(value) for name, value in grads.items()}

    return manual


def reference(x, labels, **parameters):
    for i in range(len(parameters) // 2):
        x = relu(x) if i else x
        x = x @ parameters[f"layers_{i}_weight"] + parameters[f"layers_{i}_bias"]
    return cross_entropy(x, labels)


SHAPES = [((784, 64, 10), 128), ((30, 17, 9, 5), 33), ((7, 3), 1)]


@DEVICES
@pytest.mark.parametrize("way", EPOCHS)
@pytest.mark.parametrize(("sizes", "count"), SHAPES)
def test_the_loop_has_the_right_gradients(device, way, sizes, count):
    report = crosscheck(gradients(device, way), reference, draw(count, sizes, count))
    assert report.ok, report


@DEVICES
@pytest.mark.parametrize("way", EPOCHS)
@pytest.mark.parametrize(("sizes", "count"), SHAPES)
def test_the_loop_and_the_hand_derived_gradients_agree(device, way, sizes, count):
    """The NumPy gradient in float64 is the right one here; what remains is float32's rounding in the loop."""
    inputs = draw(count, sizes, count)
    found = gradients(device, way)(**inputs)
    right = draw(count, sizes, count, np.float64) | {name: np.asarray(inputs[name], np.float64) for name in found}
    _, exact = network(right).backprop(inputs["x"].astype(np.float64), inputs["labels"])
    # a sum of n terms is off by at most n roundings of 6e-8; no sum here has more terms than 784 + 128
    for name, gradient in exact.items():
        tolerance = 1000 * 6e-8 * np.abs(gradient).max()
        np.testing.assert_allclose(found[name.replace(".", "_")], gradient, rtol=0, atol=tolerance)


@DEVICES
def test_one_entry_that_is_wrong_by_a_ten_thousandth_is_found(device):
    inputs = draw(1, (784, 64, 10), 128)
    right = gradients(device)

    def wrong(**arrays):
        found = right(**arrays)
        weight = found["layers_0_weight"]
        weight[np.unravel_index(np.abs(weight).argmax(), weight.shape)] *= 1 + 1e-4
        return found

    report = crosscheck(wrong, reference, inputs)
    assert {name for name, entry in report.gradients.items() if not entry.ok} == {"layers_0_weight"}, report


@pytest.mark.slow
@DEVICES
def test_a_thousand_right_draws_raise_no_alarm(device):
    for seed in range(1000):
        rng = np.random.default_rng(seed)
        sizes = [*rng.integers(1, 80, rng.integers(1, 4)).tolist(), int(rng.integers(2, 12))]
        report = crosscheck(
            gradients(device, ("eager", "captured")[seed % 2]), reference, draw(seed, sizes, 1 + seed % 97)
        )
        assert report.ok, f"seed {seed}, {sizes}: {report}"


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device, and PyTorch finds none")
@pytest.mark.parametrize("way", EPOCHS)
def test_tf32_is_seen_and_called_a_lower_precision(way):
    inputs = draw(2, (784, 64, 10), 128)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        report = crosscheck(gradients("cuda", way), reference, inputs)
    finally:
        torch.set_float32_matmul_precision(before)
    assert report.gradients["layers_0_weight"].code == "precision", report


# With 3 updates in a graph, and blocks of 2 rows, an epoch is many graphs and a batch many blocks; batches of 9 fill
# the last graph too.
@DEVICES
@pytest.mark.parametrize("batch_size", [None, 10, 9, 7])
def test_blocks_and_graphs_change_no_curve(device, batch_size, monkeypatch):
    def figures():
        mlp = MLP.xavier([12, 9, 4], seed=1, dtype=np.float64)
        module = ReferenceMLP.from_manual(mlp).to(device)
        rng = np.random.default_rng(2)
        rows, labels = rng.random((73, 12)), rng.integers(0, 4, 73)
        train, valid = (
            loop.to_examples(rows[part], labels[part], like=next(module.parameters()))
            for part in (slice(0, 50), slice(50, 73))
        )

        def batches(epoch):
            order = np.random.default_rng(epoch).permutation(50)
            return [slice(None)] if batch_size is None else np.split(order, range(batch_size, 50, batch_size))

        epochs = loop.train_epochs(module, matched_sgd(module), train, valid, range(40), batches)
        return np.concatenate(list(epochs)), module.to_manual()

    plain, plain_weights = figures()
    monkeypatch.setattr(loop, "BLOCK_OUTPUTS", {"cpu": 26, "cuda": 26})
    monkeypatch.setattr(loop, "UPDATES_IN_A_GRAPH", 3)
    cut, cut_weights = figures()
    assert plain.shape == (40, 4)
    # other sums of the same float64 terms: 1e-9 is what the project promises, seen is below 1e-14
    np.testing.assert_allclose(cut, plain, rtol=0, atol=1e-9)
    for name, value in plain_weights.items():
        np.testing.assert_allclose(cut_weights[name], value, rtol=0, atol=1e-9)
