"""PyTorch's training loop, beside the one derived by hand."""

import numpy as np
import pytest
from training_runs import write_tiny

from manual_backprop import MLP, Momentum, Split, load_dataset
from manual_backprop.training import epoch_batches, train_epochs

torch = pytest.importorskip("torch")

from torch_reference import training as reference  # noqa: E402 (needs torch)
from torch_reference.networks.mlp import ReferenceMLP  # noqa: E402
from torch_reference.optimizer import matched_sgd  # noqa: E402


@pytest.fixture
def dataset(tmp_path):
    return load_dataset(write_tiny(tmp_path / "tiny.npz"))


def side_by_side(dataset, epochs, batch_size, dtype, learning_rate=0.1):
    """Train both from the same weights; return both histories, (epochs, 4), and both networks' parameters."""
    mlp = MLP.xavier([16, 12, 9, 10], seed=1, dtype=dtype)
    module = ReferenceMLP.from_manual(mlp)
    train, valid = (
        reference.to_examples(split.images, split.labels, like=next(module.parameters()))
        for split in (dataset.train, dataset.valid)
    )
    there = reference.train_epochs(
        module,
        matched_sgd(module, learning_rate),
        train,
        valid,
        range(epochs),
        lambda epoch: epoch_batches(len(dataset.train), batch_size, 6, epoch),
    )
    here = train_epochs(mlp, Momentum(mlp.parameters, learning_rate), dataset, range(epochs), batch_size, seed=6)
    return np.array(list(here)), np.concatenate(list(there)), mlp.parameters, module.to_manual()


# 1e-9 is what the project promises; what is seen is below 1e-13. With 0.1, minibatches overshoot
# on so few examples, and a difference of one rounding grows a millionfold in 60 epochs, on either side.
@pytest.mark.parametrize(("batch_size", "learning_rate"), [(None, 0.1), (10, 0.01), (41, 0.01)])
def test_both_loops_agree_over_two_hundred_epochs(dataset, batch_size, learning_rate):
    here, there, parameters, others = side_by_side(dataset, 200, batch_size, np.float64, learning_rate)
    np.testing.assert_allclose(here, there, rtol=0, atol=1e-9)
    for name, value in parameters.items():
        np.testing.assert_allclose(value, others[name], rtol=0, atol=1e-9 * np.abs(value).max())
    assert here[-1, 0] < 0.5 * here[0, 0]  # it did learn something


# Float32 rounds at 6e-8 of a number, and a sum of n terms is off by at most n roundings. An update passes through sums
# over 42 examples and at most 16 units in each of 3 layers, there and back: it moves the sides apart by at most some
# (42 + 2 · 3 · 16) · 6e-8 = 1e-5 of the gradient, whose entries stay below 1, times the learning rate 0.1. Momentum 0.9
# repeats an error up to 10 times.
@pytest.mark.parametrize("batch_size", [None, 10])
def test_both_loops_agree_in_float32_for_some_epochs(dataset, batch_size):
    updates = 5 * len(epoch_batches(len(dataset.train), batch_size, 6, 0))
    here, there, parameters, others = side_by_side(dataset, 5, batch_size, np.float32)
    tolerance = 10 * updates * 1e-5 * 0.1
    np.testing.assert_allclose(here[:, [0, 2]], there[:, [0, 2]], rtol=0, atol=tolerance)
    for name, value in parameters.items():
        np.testing.assert_allclose(value, others[name], rtol=0, atol=tolerance)


def test_pixels_become_numbers_from_0_to_1(dataset):
    like = torch.zeros(1, dtype=torch.float64)
    rows, labels = reference.to_examples(dataset.train.images, dataset.train.labels, like)
    np.testing.assert_array_equal(rows.numpy(), dataset.train.images / 255)
    np.testing.assert_array_equal(labels.numpy(), dataset.train.labels)
    as_floats, _ = reference.to_examples(dataset.train.images / 255, dataset.train.labels, like)
    assert torch.equal(as_floats, rows)


def test_an_empty_set_measures_as_nan(dataset):
    module = ReferenceMLP([16, 10])
    empty = Split(dataset.valid.images[:0], dataset.valid.labels[:0])
    examples = reference.to_examples(empty.images, empty.labels, like=next(module.parameters()))
    assert np.isnan(reference.evaluate(module, examples)).all()


def test_evaluating_leaves_the_network_as_it_is(dataset):
    module = ReferenceMLP([16, 10])
    before = module.to_manual()
    examples = reference.to_examples(dataset.test.images, dataset.test.labels, like=next(module.parameters()))
    loss, accuracy = reference.evaluate(module, examples)
    assert 0 <= accuracy <= 1
    assert loss > 0
    assert all(parameter.grad is None for parameter in module.parameters())
    for name, value in module.to_manual().items():
        np.testing.assert_array_equal(value, before[name])
