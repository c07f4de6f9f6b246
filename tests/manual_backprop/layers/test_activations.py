"""The activations against PyTorch's: at 0, in the tails, where exponentials overflow; by rows and entry by entry."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_checks import DTYPES, SEEDS, assert_layer_matches, normal

from manual_backprop import layers

torch = pytest.importorskip("torch")
F = torch.nn.functional

ENTRYWISE = {
    "relu": torch.relu,
    "leaky_relu": F.leaky_relu,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "softplus": F.softplus,
    "silu": F.silu,
    "gelu": F.gelu,
}
SHAPES = st.lists(st.integers(1, 6), max_size=3).map(tuple)  # () is a single number
SCALES = st.sampled_from([1, 10, 100])  # 10 reaches the tails, 100 what exp takes to infinity in float32


def draw(seed, dtype, shape, scale):
    x = normal(seed, dtype, x=shape)["x"] * dtype(scale)
    x.flat[::5] = 0
    return {"x": x}


@pytest.mark.parametrize("name", ENTRYWISE)
@settings(max_examples=30)
@given(DTYPES, SEEDS, SHAPES, SCALES)
def test_entrywise(name, dtype, seed, shape, scale):
    assert_layer_matches(name, lambda x: ENTRYWISE[name](x), draw(seed, dtype, shape, scale), seed)


@settings(max_examples=30)
@given(DTYPES, SEEDS, SHAPES, SCALES)
def test_gelu_by_tanh(dtype, seed, shape, scale):
    inputs = draw(seed, dtype, shape, scale)
    assert_layer_matches("gelu", lambda x: F.gelu(x, approximate="tanh"), inputs, seed, approximate="tanh")


@settings(max_examples=30)
@given(DTYPES, SEEDS, SHAPES, st.sampled_from([0.2, 0.0, -0.5, 2.0]))
def test_slopes_of_leaky_relu(dtype, seed, shape, slope):
    assert_layer_matches("leaky_relu", lambda x: F.leaky_relu(x, slope), draw(seed, dtype, shape, 1), seed, slope=slope)


@pytest.mark.parametrize("name", ["softmax", "log_softmax"])
@settings(max_examples=30)
@given(DTYPES, SEEDS, SHAPES, SCALES)
def test_by_rows(name, dtype, seed, shape, scale):
    inputs = draw(seed, dtype, shape, scale)
    if name == "softmax":
        inputs = {"logits": inputs["x"]}
    assert_layer_matches(name, lambda **row: getattr(F, name)(*row.values(), dim=-1), inputs, seed)


@pytest.mark.parametrize("name", ["relu", "leaky_relu"])
def test_at_zero_the_slope_is_that_of_the_left_as_in_pytorch(name):
    x = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    ENTRYWISE[name](x).backward()
    assert getattr(layers, f"{name}_backward")(np.ones(1), np.zeros(1)) == x.grad


@pytest.mark.parametrize("name", ENTRYWISE)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_large_numbers_overflow_nothing(name, dtype):
    x = np.array([-1e10, -800, -100, -20, -0.0, 0, 20, 20.5, 100, 800, 1e10], dtype)
    tensor = torch.from_numpy(x.astype(np.float64)).requires_grad_()
    output = ENTRYWISE[name](tensor)
    output.sum().backward()
    eps = np.finfo(dtype).eps  # against PyTorch in float64; in its tails it rounds to 0
    np.testing.assert_allclose(getattr(layers, name)(x), output.detach(), rtol=4 * eps, atol=1e-14)
    backward = getattr(layers, f"{name}_backward")
    np.testing.assert_allclose(backward(np.ones_like(x), x), tensor.grad, rtol=4 * eps, atol=1e-14)


def test_gelu_has_two_forms_only():
    for call in (lambda form: layers.gelu(np.ones(1), form), lambda form: layers.gelu_backward(np.ones(1), *"x", form)):
        with pytest.raises(ValueError, match="approximate: expected 'none' or 'tanh', got 'erf'"):
            call("erf")
