"""The normalisations against PyTorch's: one example, one channel, equal numbers, means far from 0, other eps."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_checks import DTYPES, SEEDS, assert_layer_matches, normal

from manual_backprop import layers

torch = pytest.importorskip("torch")
F = torch.nn.functional

# the mean of x in units of its deviation; an all-equal x has variance 0, and eps alone decides
MEANS = st.sampled_from([0, 3, -1000, "equal"])
EPS = st.sampled_from([1e-5, 1e-3, 0.1])
CHANNELS = st.tuples(st.integers(1, 5), st.integers(1, 4)) | st.tuples(
    st.integers(1, 3), st.integers(1, 4), st.integers(1, 3), st.integers(1, 4)
)
ROWS = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple)


def draw(seed, dtype, size, features, mean):
    inputs = normal(seed, dtype, x=size, weight=(features,), bias=(features,))
    if mean == "equal":
        inputs["x"][:] = 1
    else:
        inputs["x"] += dtype(mean)
    return inputs


@settings(max_examples=30)
@given(DTYPES, MEANS, SEEDS, CHANNELS, EPS)
def test_batch_norm(dtype, mean, seed, size, eps):
    def reference(x, weight, bias):  # PyTorch's function, below its refusal of a single number a channel
        return torch.batch_norm(x, weight, bias, None, None, True, 0.1, eps, False)

    assert_layer_matches("batch_norm", reference, draw(seed, dtype, size, size[1], mean), seed, eps=eps)


@settings(max_examples=30)
@given(DTYPES, MEANS, SEEDS, CHANNELS, EPS)
def test_batch_norm_inference(dtype, mean, seed, size, eps):
    inputs = draw(seed, dtype, size, size[1], mean) | normal(seed + 1, dtype, running_mean=size[1], running_var=size[1])
    inputs["running_var"] = np.abs(inputs["running_var"])
    if mean == "equal":
        inputs["running_var"][:] = 0

    def reference(x, running_mean, running_var, weight, bias):
        shape = (-1, *(1,) * (x.ndim - 2))  # F.batch_norm takes no tensors with gradients for the statistics
        scale = torch.rsqrt(running_var + eps) * weight
        return (x - running_mean.reshape(shape)) * scale.reshape(shape) + bias.reshape(shape)

    ordered = {name: inputs[name] for name in ("x", "running_mean", "running_var", "weight", "bias")}
    constants = ("running_mean", "running_var")
    assert_layer_matches("batch_norm_inference", reference, ordered, seed, constants, eps=eps)
    tensors = {name: torch.from_numpy(value) for name, value in ordered.items()}
    np.testing.assert_allclose(
        layers.batch_norm_inference(**ordered, eps=eps),
        F.batch_norm(input=tensors.pop("x"), **tensors, eps=eps),
        rtol=0,
        # a few roundings of terms up to scale · (|x| + |mean|)
        atol=16 * np.finfo(dtype).eps * (np.abs(ordered["x"]).max() + 9) * 9 / np.sqrt(eps),
    )


@settings(max_examples=30)
@given(DTYPES, MEANS, SEEDS, ROWS, EPS)
def test_layer_norm(dtype, mean, seed, size, eps):
    def reference(x, weight, bias):
        return F.layer_norm(x, size[-1:], weight, bias, eps)

    assert_layer_matches("layer_norm", reference, draw(seed, dtype, size, size[-1], mean), seed, eps=eps)


@settings(max_examples=30)
@given(DTYPES, MEANS, SEEDS, ROWS, EPS)
def test_rms_norm(dtype, mean, seed, size, eps):
    def reference(x, weight):
        return F.rms_norm(x, size[-1:], weight, eps)

    inputs = draw(seed, dtype, size, size[-1], mean)
    if seed % 5 == 0:
        inputs["x"][:] = 0
    del inputs["bias"]
    assert_layer_matches("rms_norm", reference, inputs, seed, eps=eps)


@settings(max_examples=30)
@given(DTYPES, MEANS, SEEDS, st.integers(1, 3), st.integers(1, 3), st.lists(st.integers(1, 4), max_size=2), EPS)
def test_group_norm(dtype, mean, seed, groups, channels, pixels, eps):
    size = (seed % 3 + 1, groups * channels, *pixels)

    def reference(x, weight, bias):  # as above, below the refusal of a single number a group
        return torch.group_norm(x, groups, weight, bias, eps)

    inputs = draw(seed, dtype, size, size[1], mean)
    assert_layer_matches("group_norm", reference, inputs, seed, groups=groups, eps=eps)


def test_a_mean_far_away_costs_no_digits(rng):
    """Of 3,000 numbers of float32 around 10,000 the mean itself is rounded, by 0.01 deviations as one sum has it."""
    x = (rng.normal(size=(3000, 3)) + 10_000).astype(np.float32)
    exact = x.astype(np.float64)
    exact = (exact - exact.mean(axis=0)) / np.sqrt(exact.var(axis=0) + 1e-5)
    output = layers.batch_norm(x, np.ones(3, np.float32), np.zeros(3, np.float32))
    np.testing.assert_allclose(output, exact, rtol=0, atol=100 * np.finfo(np.float32).eps)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: layers.batch_norm(np.ones((2, 3)), np.ones(2), np.ones(2)), r"x \(2, 3\) needs one number for each"),
        (lambda: layers.batch_norm(np.ones(3), np.ones(3), np.ones(3)), r"batch_norm: x \(3,\) needs"),
        (lambda: layers.layer_norm(np.ones((2, 3)), np.ones(3), np.ones(2)), r"its last axis\), got \(3,\), \(2,\)"),
        (lambda: layers.rms_norm(np.ones((2, 3)), np.ones(2)), "rms_norm: x"),
        (lambda: layers.group_norm(np.ones((2, 4)), 3, np.ones(4), np.ones(4)), "a divisor of 4 channels, got 3"),
        (lambda: layers.group_norm(np.ones((2, 4)), 0, np.ones(4), np.ones(4)), "a divisor of 4 channels, got 0"),
    ],
)
def test_refuses_shapes_that_do_not_fit(call, message):
    with pytest.raises(ValueError, match=message):
        call()
