"""The convolutional network: its gradients, its running statistics, and a training run beside PyTorch's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_checks import DTYPES, SEEDS

from manual_backprop.networks import CNN
from manual_backprop.optimizers import Adam
from manual_backprop.training import epoch_batches

torch = pytest.importorskip("torch")
from torch.nn.functional import cross_entropy  # noqa: E402 (needs torch)

from torch_reference import assert_gradients_match  # noqa: E402
from torch_reference.networks import ReferenceCNN  # noqa: E402


def small(seed, dtype, side=4, dropout=0.0):
    cnn = CNN.xavier(seed, dtype, features=side * side, classes=3, filters=2, hidden=5, dropout=dropout)
    rng = np.random.default_rng(seed)
    for value in [*cnn.parameters.values(), cnn.buffers["normalization.running_mean"]]:
        value += rng.normal(0, 0.3, value.shape).astype(dtype)  # biases and batch_norm's weights too
    return cnn


@settings(max_examples=20)
@given(DTYPES, SEEDS, st.integers(1, 6), st.integers(2, 5), st.sampled_from([0.0, 0.25, 0.5]), st.booleans())
def test_gradients_match_autograd(dtype, seed, count, side, dropout, soft):
    cnn = small(seed, dtype, side, dropout)
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, side * side)).astype(dtype)
    targets = rng.dirichlet(np.ones(3), count).astype(dtype) if soft else rng.integers(0, 3, count)
    keep = cnn.draw_keep(count, rng)
    module = ReferenceCNN.from_manual(cnn)

    def manual(**parameters):
        return CNN(parameters, dropout).backprop(x, targets, keep)[1]

    def reference(**tensors):
        turned = {name: value.T if value.ndim == 2 else value for name, value in tensors.items()}
        arguments = torch.from_numpy(x), None if keep is None else torch.from_numpy(keep)
        return cross_entropy(torch.func.functional_call(module, turned, arguments), torch.from_numpy(targets))

    assert_gradients_match(manual, reference, cnn.parameters)


def images(count, side):
    rng = np.random.default_rng(count)
    return rng.integers(0, 256, (count, side * side), dtype=np.uint8), rng.integers(0, 10, count)


@pytest.mark.parametrize(("side", "filters", "hidden"), [(8, 4, 20), pytest.param(28, 32, 784, marks=pytest.mark.slow)])
def test_training_is_pytorchs(side, filters, hidden):
    """600 images, 3 epochs, dropout and L2: losses, weights, running statistics and predictions to 1e-9."""
    x, labels = images(600, side)
    sizes = {"features": side * side, "filters": filters, "hidden": hidden}
    cnn = CNN.xavier(1, np.float64, **sizes, dropout=0.25)
    module = ReferenceCNN.from_manual(cnn)
    mine = Adam(cnn.parameters, 1e-3, weight_decay=0.01)
    theirs = torch.optim.Adam(module.parameters(), 1e-3, weight_decay=0.01)
    rows, classes = torch.from_numpy(x / 255), torch.from_numpy(labels)
    for epoch in range(3):
        for number, batch in enumerate(epoch_batches(600, 32, 0, epoch)):
            keep = cnn.draw_keep(len(batch), np.random.default_rng([0, epoch, number]))
            loss, gradients = cnn.backprop(x[batch], labels[batch], keep)
            mine.step(gradients)
            theirs.zero_grad()
            expected = cross_entropy(module(rows[batch], torch.from_numpy(keep)), classes[batch])
            expected.backward()
            theirs.step()
            assert loss == pytest.approx(expected.item(), rel=1e-9)
    trained = module.to_manual()
    for name, value in {**cnn.parameters, **cnn.buffers}.items():
        np.testing.assert_allclose(value, trained[name], rtol=1e-9, atol=1e-9, err_msg=name)
    with torch.no_grad():
        np.testing.assert_allclose(cnn(x), module.eval()(rows), rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(CNN(trained)(x[:5]), CNN(module.to_manual(), 0.25)(x[:5]))


def test_backprop_depends_on_its_arguments_and_the_parameters_alone():
    cnn = small(0, np.float64, 4)
    x, labels = images(7, 4)
    first, again = cnn.backprop(x, labels % 3), cnn.backprop(x, labels % 3)
    assert first[0] == again[0]
    for name in cnn.parameters:
        np.testing.assert_array_equal(first[1][name], again[1][name])
    assert list(first[1]) == list(cnn.parameters)


def test_the_same_seed_draws_the_same_weights_and_units_in_every_precision():
    single, double = CNN.xavier(3, dropout=0.5), CNN.xavier(3, np.float64, dropout=0.5)
    for name, value in double.parameters.items():
        np.testing.assert_array_equal(value.astype(np.float32), single.parameters[name])
    keeps = [cnn.draw_keep(6, np.random.default_rng([0, 1])) for cnn in (single, double)]
    np.testing.assert_array_equal(*keeps)
    assert keeps[0].shape == (6, 784)
    assert CNN.xavier().draw_keep(6, np.random.default_rng(0)) is None


def test_weights_have_xaviers_variance():
    parameters = CNN.xavier(0).parameters
    for name, variance in {"convolution": 2 / (9 + 9 * 32), "hidden": 2 / (6272 + 784), "output": 2 / 794}.items():
        weight = parameters[f"{name}.weight"]
        # the sample variance of n Gaussians errs by √(2/n) of itself; 5 times that is never seen
        assert weight.var() == pytest.approx(variance, rel=5 * np.sqrt(2 / weight.size))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("output.bias"), "parameters: expected convolution.weight, .*, got convolution.weight"),
        (lambda state: state.update({"hidden.bias": np.zeros(6)}), r"hidden.weight: expected \(8, 6\), got \(8, 5\)"),
        (
            lambda state: state.update({"normalization.running_mean": np.zeros(2)}),
            "buffers: expected .*_mean and .*_var",
        ),
        (lambda state: state.update({"hidden.weight": np.zeros((6, 5))}), "6 inputs, which are not 2 square images"),
    ],
)
def test_refuses_a_state_that_does_not_fit(change, message):
    state = dict(small(0, np.float64).parameters)
    change(state)
    with pytest.raises(ValueError, match=message):
        CNN(state)


def test_refuses_images_that_do_not_fit():
    cnn = small(0, np.float64)
    for x, message in [(np.zeros((2, 36)), r"\(N, 16\), got \(2, 36\)"), (np.zeros((2, 15)), "a square of 2 or more")]:
        with pytest.raises(ValueError, match=message):
            cnn(x)
        with pytest.raises(ValueError, match=message):
            cnn.backprop(x, np.zeros(2, int))
    with pytest.raises(ValueError, match="features: expected a square of 2 or more, as images have, got 783"):
        CNN.xavier(features=783)
