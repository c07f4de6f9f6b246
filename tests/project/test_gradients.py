"""The hand-derived gradients against `torch.autograd`, on random batches, to rounding.

`assert_gradients_match` has no tolerance to set: how far rounding moves each entry follows from the inputs at hand.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manual_backprop import MLP, layers

torch = pytest.importorskip("torch")
from own_gradients import CROSS_ENTROPY, LINEAR, RELU, network  # noqa: E402 (needs torch)

from torch_reference import assert_gradients_match  # noqa: E402

DTYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64])
SEEDS = st.integers(0, 2**32 - 1)
# all of them different from each other and from 1, so that no transposed or summed axis can hide; then a single example
SHAPES = pytest.mark.parametrize(("count", "fan_in", "fan_out"), [(7, 5, 3), (1, 5, 3), (64, 33, 10)])


def draw(seed, dtype, **shapes):
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape).astype(dtype) for name, shape in shapes.items()}


def probabilities(seed, dtype, count, classes):
    return np.random.default_rng(seed).dirichlet(np.ones(classes), count).astype(dtype)


def labels(seed, count, classes):
    return np.random.default_rng(seed).integers(0, classes, count)


# Each function gets a random upstream gradient: under a plain sum all its entries are 1, and a softmax gradient is 0.


@DTYPES
@SHAPES
@settings(max_examples=10)
@given(seed=SEEDS)
def test_linear(seed, dtype, count, fan_in, fan_out):
    shapes = {"x": (count, fan_in), "weight": (fan_in, fan_out), "bias": (fan_out,), "grad_output": (count, fan_out)}
    assert_gradients_match(*LINEAR, draw(seed, dtype, **shapes))


@DTYPES
@settings(max_examples=10)
@given(seed=SEEDS)
def test_relu(seed, dtype):
    inputs = draw(seed, dtype, x=(7, 5), grad_output=(7, 5))
    inputs["x"][::2, ::2] = 0  # exact zeros, where both take 0 for the derivative
    assert_gradients_match(*RELU, inputs)


@DTYPES
@SHAPES
@pytest.mark.parametrize("scale", [1, 50, 1000])  # 50 and 1000 saturate the softmax
@settings(max_examples=10)
@given(seed=SEEDS)
def test_cross_entropy_of_labels(seed, dtype, count, fan_in, fan_out, scale):
    inputs = draw(seed, dtype, logits=(count, fan_out))
    inputs["logits"] *= dtype(scale)
    assert_gradients_match(*CROSS_ENTROPY, inputs | {"targets": labels(seed, count, fan_out)})


@DTYPES
@SHAPES
@settings(max_examples=10)
@given(seed=SEEDS)
def test_cross_entropy_of_probabilities(seed, dtype, count, fan_in, fan_out):
    targets = probabilities(seed, dtype, count, fan_out)
    assert_gradients_match(*CROSS_ENTROPY, draw(seed, dtype, logits=(count, fan_out)) | {"targets": targets})


@DTYPES
@pytest.mark.parametrize("one_example", [True, False])
@given(
    seed=SEEDS,
    hidden=st.lists(st.integers(1, 9), max_size=3),
    count=st.integers(2, 20),
    soft=st.booleans(),
    zero_inputs=st.booleans(),
)
def test_network_of_any_depth(seed, dtype, one_example, hidden, count, soft, zero_inputs):
    count = 1 if one_example else count
    sizes = [6, *hidden, 4]
    shapes = {name: value.shape for name, value in MLP.xavier(sizes).parameters.items()}
    parameters = draw(seed, dtype, **shapes)
    x = draw(seed + 1, dtype, x=(count, 6))["x"]
    if zero_inputs:  # with a zero bias every pre-activation of such an example is exactly 0
        x[::2] = 0
        parameters["layers.0.bias"][:] = 0
    targets = probabilities(seed, dtype, count, 4) if soft else labels(seed, count, 4)

    assert_gradients_match(*network(MLP(parameters), x, targets), parameters)


@DTYPES
def test_network_on_the_assignments_sizes(rng, dtype):
    mlp = MLP.xavier([784, 1000, 10], dtype=dtype)
    images = rng.integers(0, 256, (128, 784), dtype=np.uint8)
    targets = rng.integers(0, 10, 128)
    assert_gradients_match(*network(mlp, images, targets), mlp.parameters)


@DTYPES
@settings(max_examples=10)
@given(seed=SEEDS)
def test_loss_is_pytorchs(seed, dtype):
    logits = draw(seed, dtype, logits=(9, 5))["logits"] * dtype(10)
    for targets in (labels(seed, 9, 5), probabilities(seed, dtype, 9, 5)):
        tensor = torch.from_numpy(targets)
        exact_targets = tensor.double() if tensor.is_floating_point() else tensor
        expected = torch.nn.functional.cross_entropy(torch.from_numpy(logits).double(), exact_targets).item()
        # sums of some tens of terms no larger than the largest logit difference
        tolerance = 50 * float(np.finfo(dtype).eps * np.ptp(logits))
        assert float(layers.cross_entropy(logits, targets)) == pytest.approx(expected, rel=0, abs=tolerance)
