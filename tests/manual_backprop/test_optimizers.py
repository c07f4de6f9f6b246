import tracemalloc
from functools import partial

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from manual_backprop import Adam, AdamW, Momentum, clip_grad_norm
from manual_backprop.optimizers.optimizer import BLOCK

torch = pytest.importorskip("torch")

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


def torch_optimizer(optimizer, parameters):
    """PyTorch's own optimizer with the settings of ours, for copies of the parameters, and these copies."""
    tensors = {name: torch.tensor(value, requires_grad=True) for name, value in parameters.items()}
    kind = torch.optim.AdamW if isinstance(optimizer, AdamW) else torch.optim.Adam
    groups = [{"params": [tensor], "weight_decay": optimizer.weight_decay[name]} for name, tensor in tensors.items()]
    return kind(groups, lr=optimizer.learning_rate, betas=optimizer.betas, eps=optimizer.eps), tensors


@pytest.mark.parametrize("kind", [Adam, AdamW])
@pytest.mark.parametrize("weight_decay", [None, 0.0, 0.5, {"kernel": 0.1, "bias": 0.0, "wide": 0.02}])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_hundred_steps_equal_those_of_torch(rng, kind, weight_decay, dtype):
    shapes = {"kernel": (2, 3, 5, 7), "bias": (4,), "wide": (3, BLOCK - 1)}
    scales = dict(zip(shapes, (1e-6, 1.0, 1e3), strict=True))  # eps matters to some of the gradients, not to others
    parameters = {name: rng.normal(size=shape).astype(dtype) for name, shape in shapes.items()}
    settings = {} if weight_decay is None else {"weight_decay": weight_decay}
    optimizer = kind(parameters, 0.01, (0.8, 0.99), 1e-6, **settings)
    expected, tensors = torch_optimizer(optimizer, parameters)
    for step in range(100):
        if step % 30 == 20:
            optimizer.learning_rate /= 3
            for group in expected.param_groups:
                group["lr"] = optimizer.learning_rate
        gradients = {name: (scales[name] * rng.normal(size=shape)).astype(dtype) for name, shape in shapes.items()}
        for name, tensor in tensors.items():
            tensor.grad = torch.from_numpy(gradients[name].copy())
        expected.step()
        optimizer.step(gradients)
    for name, value in parameters.items():
        assert value.dtype == dtype
        # in float32 each of the 100 steps of up to 0.01 is off by a few roundings of 6e-8 of itself and of the weight
        np.testing.assert_allclose(value, tensors[name].detach(), rtol=0, atol=1e-12 if dtype == np.float64 else 5e-6)


@pytest.mark.parametrize("kind", [Adam, AdamW])
def test_the_moment_of_a_parameter_without_gradients_ends_at_zero_and_at_no_slow_number(kind):
    optimizer = kind({"weight": np.ones(2, np.float32)})
    optimizer.step({"weight": np.array([1, 1e-20], np.float32)})
    tiny = np.finfo(np.float32).tiny
    for step in range(1000):  # 0.9 to the power of 830 is the smallest normal number
        optimizer.step({"weight": np.zeros(2, np.float32)})
        moment = optimizer.state["first_moment"]["weight"]
        assert ((moment == 0) | (moment >= tiny)).all()
        assert moment[0] > 0 or step > 700
    assert (moment == 0).all()


@pytest.mark.parametrize("kind", [Adam, AdamW])
def test_the_defaults_are_torch_s(kind):
    ours = kind({"weight": np.ones(1)})
    theirs = getattr(torch.optim, kind.__name__)([torch.ones(1)]).defaults
    assert (ours.learning_rate, ours.betas, ours.eps) == (theirs["lr"], theirs["betas"], theirs["eps"])
    assert ours.weight_decay == {"weight": theirs["weight_decay"]}


OPTIMIZERS = pytest.mark.parametrize("kind", [Momentum, Adam, partial(Adam, weight_decay=0.5), AdamW])


@OPTIMIZERS
def test_updates_in_place_leave_the_gradients_and_take_any_layout(rng, kind):
    gradients = {"weight": rng.normal(size=(300, 200)), "bias": rng.normal(size=()), "none": np.ones((0, 5))}
    start = {name: rng.normal(size=value.shape) for name, value in gradients.items()}
    expected = {name: value.copy() for name, value in start.items()}
    kind(expected).step(gradients)
    parameters = {name: np.asfortranarray(value) for name, value in start.items()}
    arrays, given = dict(parameters), {name: np.asfortranarray(value) for name, value in gradients.items()}
    kind(parameters).step(given)
    for name, value in parameters.items():
        assert value is arrays[name]
        np.testing.assert_array_equal(value, expected[name])
        np.testing.assert_array_equal(given[name], gradients[name])


@OPTIMIZERS
def test_parts_updated_on_copies_and_a_state_carried_over_give_the_same_bits(rng, kind):
    whole, parts = ({"weight": np.ones((6, 5)), "bias": np.ones(5)} for _ in range(2))
    expected, optimizer = kind(whole), kind(parts)
    for step in range(1, 4):
        gradients = {name: rng.normal(size=value.shape) for name, value in whole.items()}
        expected.step(gradients)
        for name, gradient in gradients.items():
            for part in (np.s_[:2], np.s_[2:]):
                parameter, own = (
                    parts[name][part].copy(),
                    {k: optimizer.state[k][name][part].copy() for k in optimizer.kinds},
                )
                optimizer.update(name, parameter, gradient[part], own, step, optimizer.scratch())
                parts[name][part] = parameter
                for key, value in own.items():
                    optimizer.state[key][name][part] = value
        # as after a checkpoint: another object with the same state
        state, optimizer = optimizer.state, kind(parts)
        optimizer.state, optimizer.steps = state, step
    for name, value in whole.items():
        np.testing.assert_array_equal(parts[name], value)


@OPTIMIZERS
def test_a_gradient_that_nobody_needs_may_be_the_scratch(rng, kind):
    gradients = {"weight": rng.normal(size=(6, 5))}
    expected, parameters = ({"weight": np.ones((6, 5))} for _ in range(2))
    kind(expected).step(gradients)
    optimizer, gradient = kind(parameters), gradients["weight"]
    state = {k: optimizer.state[k]["weight"] for k in optimizer.kinds}
    optimizer.update("weight", parameters["weight"], gradient, state, 1, gradient.reshape(-1))
    np.testing.assert_array_equal(parameters["weight"], expected["weight"])


def test_an_update_allocates_nothing_of_the_parameters_size(rng):
    parameters = {"weight": np.ones((1000, 1000))}
    gradients = {"weight": rng.normal(size=(1000, 1000))}
    for kind in (Momentum, partial(Adam, weight_decay=0.1), AdamW):
        optimizer = kind(parameters)
        tracemalloc.start()
        optimizer.step(gradients)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 20_000


ARRAYS = arrays(np.float64, array_shapes(max_dims=3, max_side=4), elements=st.floats(-1e3, 1e3))


@given(values=st.lists(ARRAYS, max_size=4), max_norm=st.floats(1e-3, 1e4))
def test_clipping_equals_torch_s(values, max_norm):
    gradients = {str(i): value.copy() for i, value in enumerate(values)}
    tensors = [torch.ones(value.shape, dtype=torch.float64, requires_grad=True) for value in values]
    for tensor, value in zip(tensors, values, strict=True):
        tensor.grad = torch.from_numpy(value.copy())
    expected = torch.nn.utils.clip_grad_norm_(tensors, max_norm)
    before = dict(gradients)
    assert clip_grad_norm(gradients, max_norm) == pytest.approx(float(expected), rel=1e-14)
    for tensor, (name, gradient) in zip(tensors, gradients.items(), strict=True):
        assert gradient is before[name]
        np.testing.assert_allclose(gradient, tensor.grad, rtol=1e-13)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_clipping_hides_no_gradient_that_is_not_finite(bad):
    gradients = {"weight": np.array([1.0, bad], np.float32)}
    assert not np.isfinite(clip_grad_norm(gradients, 1.0))
    assert np.isnan(gradients["weight"][1])
