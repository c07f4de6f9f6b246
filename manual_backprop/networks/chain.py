"""A network that is a list of layers: forward in order, backward in reverse order."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from manual_backprop.arrays import Array


class Layer(NamedTuple):
    """A function of `layers`, its backward, and what both take beside the input.

    Parameters
    ----------
    forward, backward : X and X_backward
    name : of the layer whose `weight` and `bias` it takes; empty if it has none
    options : further arguments of both
    """

    forward: Callable[..., Array]
    backward: Callable[..., Any]
    name: str = ""
    options: Mapping[str, Any] = {}

    def output(self, x: Array, parameters: Mapping[str, Array]) -> Array:
        """Return the layer's output."""
        weights = (parameters[f"{self.name}.{kind}"] for kind in ("weight", "bias") if self.name)
        return self.forward(x, *weights, **self.options)


def output(layers: Sequence[Layer], parameters: Mapping[str, Array], x: Array) -> Array:
    """Return what comes out of the last layer, and keep nothing on the way."""
    for layer in layers:
        x = layer.output(x, parameters)
    return x


def forward(layers: Sequence[Layer], parameters: Mapping[str, Array], x: Array) -> list[Array]:
    """Return what went into each layer, and last what came out."""
    values = [x]
    for layer in layers:
        values.append(layer.output(values[-1], parameters))
    return values


def backward(
    layers: Sequence[Layer], parameters: Mapping[str, Array], values: Sequence[Array], grad_output: Array
) -> dict[str, Array]:
    """Return dL/dparameter for every parameter: each layer takes dL/d(output) and hands dL/d(input) to the one before.

    Parameters
    ----------
    values : as `forward` returned them
    grad_output : dL/d(output of the last layer)
    """
    gradients: dict[str, Array] = {}
    for layer, x in zip(reversed(layers), reversed(values[:-1]), strict=True):
        if layer.name:
            weight = parameters[f"{layer.name}.weight"]
            grad_output, grad_weight, grad_bias = layer.backward(grad_output, x, weight, **layer.options)
            gradients |= {f"{layer.name}.weight": grad_weight, f"{layer.name}.bias": grad_bias}
        else:
            grad_output = layer.backward(grad_output, x, **layer.options)
    return {name: gradients[name] for name in parameters}


def flatten(x: Array) -> Array:
    """Return the numbers of each example as a row."""
    return x.reshape(len(x), math.prod(x.shape[1:]))


def flatten_backward(grad_output: Array, x: Array) -> Array:
    """Carry the gradient back through `flatten`: nothing but the shape changed."""
    return grad_output.reshape(x.shape)
