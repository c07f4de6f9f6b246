import numpy as np
import pytest

from manual_backprop import Momentum

SETTINGS = pytest.mark.parametrize(
    ("momentum", "learning_rate", "initial_velocity"),
    [(0.9, 0.1, 1e-5), (0.0, 0.5, 1e-5), (0.99, 1e-3, 0.0), (0.5, 2.0, -1.0)],
)


@SETTINGS
def test_forty_steps_equal_the_formula_written_out(rng, momentum, learning_rate, initial_velocity):
    parameters = {"weight": rng.normal(size=(3, 2)), "bias": rng.normal(size=2)}
    expected = {name: value.copy() for name, value in parameters.items()}
    velocity = {name: np.full(value.shape, initial_velocity) for name, value in parameters.items()}
    optimizer = Momentum(parameters, learning_rate, momentum, initial_velocity)
    for step in range(40):
        if step == 20:
            optimizer.learning_rate = learning_rate = learning_rate / 10
        gradients = {name: rng.normal(size=value.shape) for name, value in parameters.items()}
        for name, gradient in gradients.items():
            velocity[name] = momentum * velocity[name] + learning_rate * gradient
            expected[name] = expected[name] - velocity[name]
        optimizer.step(gradients)
    for name, value in parameters.items():
        # the same operations in the same order: nothing may differ but a fused multiply-add
        np.testing.assert_allclose(value, expected[name], rtol=1e-12)
        np.testing.assert_allclose(optimizer.velocity[name], velocity[name], rtol=1e-12)


def test_updates_the_very_arrays_and_leaves_the_gradients():
    parameters = {"weight": np.ones((2, 2), np.float32)}
    weight, gradient = parameters["weight"], np.ones((2, 2), np.float32)
    Momentum(parameters).step({"weight": gradient})
    assert parameters["weight"] is weight
    assert weight.dtype == np.float32
    np.testing.assert_array_equal(weight, np.float32(1) - (np.float32(1e-5) * np.float32(0.9) + np.float32(0.1)))
    np.testing.assert_array_equal(gradient, 1)


@pytest.mark.parametrize(
    ("gradients", "message"),
    [
        ({"weight": np.ones(2)}, "expected weight, bias, got weight"),
        ({"weight": np.ones(2), "bias": np.ones((1, 2))}, r"bias: gradient \(1, 2\), but parameter \(2,\)"),
    ],
)
def test_refuses_gradients_that_do_not_fit_and_changes_nothing(gradients, message):
    parameters = {"weight": np.ones(2), "bias": np.ones(2)}
    optimizer = Momentum(parameters)
    with pytest.raises(ValueError, match=message):
        optimizer.step(gradients)
    np.testing.assert_array_equal([*parameters.values()], np.ones((2, 2)))
    np.testing.assert_array_equal([*optimizer.velocity.values()], np.full((2, 2), 1e-5))
