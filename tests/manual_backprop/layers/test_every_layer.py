"""What holds for every layer: its place, its precision, its arguments left alone."""

import ast
from pathlib import Path

import numpy as np
import pytest
from layer_checks import backward_of

from manual_backprop import layers

FOLDER = Path(layers.__file__).parent
IMAGES, ROWS, CHANNEL = (2, 3, 5, 4), (2, 4, 3), (3,)

# inputs by shape, then options; losses take targets and no upstream gradient
CASES = {
    "avg_pool2d": ({"x": IMAGES}, {"kernel_size": 2}),
    "batch_norm": ({"x": IMAGES, "weight": CHANNEL, "bias": CHANNEL}, {}),
    "batch_norm_inference": (
        {"x": IMAGES, "running_mean": CHANNEL, "running_var": CHANNEL, "weight": CHANNEL, "bias": CHANNEL},
        {},
    ),
    "conv2d": ({"x": IMAGES, "weight": (2, 3, 3, 2), "bias": (2,)}, {"padding": 1, "stride": (2, 1)}),
    "gelu": ({"x": ROWS}, {}),
    "group_norm": ({"x": (2, 4, 3), "weight": (4,), "bias": (4,)}, {"groups": 2}),
    "layer_norm": ({"x": ROWS, "weight": CHANNEL, "bias": CHANNEL}, {}),
    "leaky_relu": ({"x": ROWS}, {}),
    "linear": ({"x": (4, 3), "weight": (3, 2), "bias": (2,)}, {}),
    "log_softmax": ({"x": ROWS}, {}),
    "max_pool2d": ({"x": IMAGES}, {"kernel_size": 3, "stride": 2, "padding": 1}),
    "relu": ({"x": ROWS}, {}),
    "rms_norm": ({"x": ROWS, "weight": CHANNEL}, {}),
    "sigmoid": ({"x": ROWS}, {}),
    "silu": ({"x": ROWS}, {}),
    "softmax": ({"logits": ROWS}, {}),
    "softplus": ({"x": ROWS}, {}),
    "tanh": ({"x": ROWS}, {}),
}


def draw(rng, dtype, shapes):
    inputs = {name: rng.uniform(0.1, 2, shape).astype(dtype) for name, shape in shapes.items()}
    for value in inputs.values():
        value.setflags(write=False)
    return inputs


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.longdouble])
@pytest.mark.parametrize("name", CASES)
def test_keeps_the_precision_and_its_inputs(rng, name, dtype):
    shapes, options = CASES[name]
    inputs = draw(rng, dtype, shapes)
    output = getattr(layers, name)(**inputs, **options)
    gradients = backward_of(name, np.broadcast_to(dtype(1), output.shape), inputs, options)
    assert {array.dtype for array in (output, *gradients)} == {np.dtype(dtype)}
    assert not any(np.shares_memory(array, value) for array in (output, *gradients) for value in inputs.values())


@pytest.mark.parametrize("name", CASES)
def test_gradients_are_slopes_in_extended_precision(rng, name):
    shapes, options = CASES[name]
    inputs = draw(rng, np.longdouble, shapes)
    upstream = rng.normal(size=getattr(layers, name)(**inputs, **options).shape)
    names = [key for key in shapes if not key.startswith("running")]
    step = np.longdouble(1e-5)
    for key, gradient in zip(names, backward_of(name, upstream, inputs, options), strict=True):
        direction = rng.normal(size=gradient.shape)

        def loss(amount, key=key, direction=direction):
            moved = inputs | {key: inputs[key] + amount * direction}
            return (getattr(layers, name)(**moved, **options) * upstream).sum()

        slope = (loss(step) - loss(-step)) / (2 * step)
        # the error of a central difference: step² times a third derivative
        assert (gradient * direction).sum() == pytest.approx(slope, rel=1e-7, abs=1e-7)


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_backward_stands_right_below_forward(path):
    nodes = ast.parse(path.read_text(encoding="utf-8")).body
    names = [node.name for node in nodes if isinstance(node, ast.FunctionDef)]
    for number, name in enumerate(names):
        if name.endswith("_backward"):
            assert names[number - 1] == name.removesuffix("_backward")
