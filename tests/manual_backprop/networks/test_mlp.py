"""The network by itself; test_gradients.py holds its gradients against autograd."""

import numpy as np
import pytest

from manual_backprop import MLP


def test_xavier_has_the_assignments_variance():
    mlp = MLP.xavier([784, 1000, 10], seed=3)
    for name, variance in (("layers.0.weight", 2 / 1784), ("layers.1.weight", 2 / 1010)):
        weight = mlp.parameters[name].astype(float)
        # standard errors of mean and variance of n Gaussian draws; 5 of them is one alarm in a million seeds
        assert abs(weight.mean()) < 5 * np.sqrt(variance / weight.size)
        assert abs(weight.var() / variance - 1) < 5 * np.sqrt(2 / weight.size)


def test_xavier_repeats_by_seed_and_agrees_between_precisions():
    single, double = MLP.xavier([5, 4, 3], seed=7), MLP.xavier([5, 4, 3], seed=7, dtype=np.float64)
    other = MLP.xavier([5, 4, 3], seed=8)
    for name, value in single.parameters.items():
        np.testing.assert_array_equal(value, double.parameters[name].astype(np.float32))
        assert name.endswith("bias") != (value != other.parameters[name]).all()
    assert (single.dtype, double.dtype) == (np.float32, np.float64)


def test_parameters_are_named_and_shaped_as_agreed():
    mlp = MLP.xavier([5, 4, 3, 2])
    assert {name: value.shape for name, value in mlp.parameters.items()} == {
        "layers.0.weight": (5, 4),
        "layers.0.bias": (4,),
        "layers.1.weight": (4, 3),
        "layers.1.bias": (3,),
        "layers.2.weight": (3, 2),
        "layers.2.bias": (2,),
    }
    assert all((value == 0).all() for name, value in mlp.parameters.items() if name.endswith("bias"))
    assert mlp.sizes == (5, 4, 3, 2)


def test_logits_are_the_report_formula(rng):
    mlp = MLP(
        {name: rng.integers(-3, 4, value.shape) * 1.0 for name, value in MLP.xavier([4, 3, 2]).parameters.items()}
    )
    w_h, b_h, w_o, b_o = mlp.parameters.values()
    x = rng.integers(-3, 4, (5, 4)) * 1.0
    np.testing.assert_array_equal(mlp(x), np.maximum(x @ w_h + b_h, 0) @ w_o + b_o)  # small integers: exact


@pytest.mark.parametrize("sizes", [(4, 3), (4, 5, 3), (4, 6, 5, 3)])
def test_gradient_is_the_slope_of_the_loss_along_every_parameter(rng, sizes):
    mlp = MLP.xavier(sizes, dtype=np.longdouble)
    for value in mlp.parameters.values():
        value += rng.normal(size=value.shape) * 0.1
    x, labels = rng.normal(size=(6, 4)), rng.integers(0, 3, 6)
    _, gradients = mlp.backprop(x, labels)
    assert list(gradients) == list(mlp.parameters)
    step = np.longdouble(1e-6)
    for name, value in mlp.parameters.items():
        assert gradients[name].shape == value.shape
        for index in np.ndindex(value.shape):
            losses = []
            for sign in (1, -1):
                nudged = value.copy()
                nudged[index] += sign * step
                losses.append(longdouble_loss(MLP(mlp.parameters | {name: nudged}), x, labels))
            # central difference: its error is step² times the third derivative, here below 1e-10
            assert gradients[name][index] == pytest.approx((losses[0] - losses[1]) / (2 * step), abs=1e-10)


def longdouble_loss(mlp, x, labels):
    """The loss with all its digits: backprop returns it as a Python float."""
    logits = mlp(x)
    return (np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(x)), labels]).mean()


def test_loss_is_the_mean_over_the_batch(rng):
    mlp = MLP.xavier([4, 5, 3], dtype=np.float64)
    x, labels = rng.normal(size=(6, 4)), rng.integers(0, 3, 6)
    single = [mlp.backprop(x[i : i + 1], labels[i : i + 1])[0] for i in range(6)]
    assert mlp.backprop(x, labels)[0] == pytest.approx(np.mean(single), rel=1e-14)  # a dozen roundings


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pixels_count_as_fractions_of_255(rng, dtype):
    mlp = MLP.xavier([4, 5, 3], dtype=dtype)
    pixels = rng.integers(0, 256, (6, 4), dtype=np.uint8)
    rows = pixels.astype(dtype) / dtype(255)
    np.testing.assert_array_equal(mlp(pixels), mlp(rows))
    labels = rng.integers(0, 3, 6)
    for name, gradient in mlp.backprop(pixels, labels)[1].items():
        np.testing.assert_array_equal(gradient, mlp.backprop(rows, labels)[1][name])
        assert gradient.dtype == dtype


def test_backprop_changes_neither_parameters_nor_inputs(rng):
    mlp = MLP.xavier([4, 5, 3])
    x, labels = rng.normal(size=(6, 4)).astype(np.float32), rng.integers(0, 3, 6)
    before = {name: value.copy() for name, value in mlp.parameters.items()} | {"x": x.copy(), "labels": labels.copy()}
    first, second = mlp.backprop(x, labels)[1], mlp.backprop(x, labels)[1]
    for name, value in (mlp.parameters | {"x": x, "labels": labels}).items():
        np.testing.assert_array_equal(value, before[name])
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: MLP.xavier([4]), "two or more positive"),
        (lambda: MLP.xavier([4, 0, 3]), r"got \(4, 0, 3\)"),
        (lambda: MLP({}), r"expected layers\.0\.weight"),
        (lambda: MLP({"w": np.zeros(3)}), "got w"),
        (lambda: MLP({"layers.0.weight": np.zeros((3, 2)), "layers.0.bias": np.zeros(3)}), r"layers\.0: weight"),
        (lambda: MLP(MLP.xavier([4, 3]).parameters | layer_one(np.zeros((2, 2)))), "takes 2 inputs, but layer 0 has 3"),
        (lambda: MLP.xavier([4, 3])(np.zeros((2, 2, 2))), r"expected \(N, 4\), got \(2, 2, 2\)"),
        (lambda: MLP.xavier([4, 3]).backprop(np.zeros((2, 5)), np.zeros(2, int)), r"expected \(N, 4\), got \(2, 5\)"),
    ],
)
def test_errors_say_what_is_wrong(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def layer_one(weight):
    return {"layers.1.weight": weight, "layers.1.bias": np.zeros(weight.shape[1])}
