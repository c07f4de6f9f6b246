"""What holds for every layer: its place, its precision, its arguments left alone."""

import ast
import inspect
from pathlib import Path

import numpy as np
import pytest
from layer_checks import as_tuple, backward_of
from layer_table import CASES

from manual_backprop import layers

FOLDER = Path(layers.__file__).parent


def draw(rng, case, dtype):
    inputs = case.inputs(rng, dtype)
    for value in inputs.values():
        value.setflags(write=False)
    return inputs


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.longdouble])
@pytest.mark.parametrize("name", CASES)
def test_keeps_the_precision_and_its_inputs(rng, name, dtype):
    case = CASES[name]
    inputs = draw(rng, case, dtype)
    outputs = as_tuple(getattr(layers, name)(**inputs, **case.options))
    upstream = None if case.is_loss else tuple(np.broadcast_to(dtype(1), output.shape) for output in outputs)
    gradients = backward_of(name, upstream, inputs, case.options)
    assert {array.dtype for array in (*outputs, *gradients)} == {np.dtype(dtype)}
    assert not any(np.shares_memory(array, value) for array in (*outputs, *gradients) for value in inputs.values())


@pytest.mark.parametrize("name", sorted(CASES.keys() - {"max_pool2d"}))  # which has kinks at its ties
def test_gradients_are_slopes_in_extended_precision(rng, name):
    case = CASES[name]
    inputs = draw(rng, case, np.longdouble)
    outputs = as_tuple(getattr(layers, name)(**inputs, **case.options))
    upstream = None if case.is_loss else tuple(rng.normal(size=output.shape) for output in outputs)
    names = [key for key in case.shapes if key not in case.constants]
    step = np.longdouble(1e-5)
    for key, gradient in zip(names, backward_of(name, upstream, inputs, case.options), strict=True):
        direction = rng.normal(size=gradient.shape)

        def loss(amount, key=key, direction=direction):
            moved = inputs | {key: inputs[key] + amount * direction}
            outputs = as_tuple(getattr(layers, name)(**moved, **case.options))
            return outputs[0] if case.is_loss else sum((a * b).sum() for a, b in zip(outputs, upstream, strict=True))

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


@pytest.mark.parametrize("name", sorted(name for name in layers.__all__ if name.endswith("_backward")))
def test_backward_takes_the_arguments_of_forward_in_their_order_and_with_their_defaults(name):
    forward = inspect.signature(getattr(layers, name.removesuffix("_backward"))).parameters
    taken = inspect.signature(getattr(layers, name)).parameters
    shared = [key for key in taken if not key.startswith("grad_")]
    assert shared == [key for key in forward if key in shared]
    assert {key: taken[key].default for key in shared} == {key: forward[key].default for key in shared}
