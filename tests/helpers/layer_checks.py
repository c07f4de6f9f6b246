"""Check a layer against PyTorch's function of the same meaning: its output and its gradients, to rounding."""

import inspect

import numpy as np
from hypothesis import strategies as st

from manual_backprop import layers

SEEDS = st.integers(0, 2**32 - 1)
DTYPES = st.sampled_from([np.float32, np.float64])


def normal(seed, dtype, **shapes):
    """Return an array of normal numbers for each name."""
    rng = np.random.default_rng(seed)
    return {name: rng.normal(size=shape).astype(dtype) for name, shape in shapes.items()}


def backward_of(name, grad_output, inputs, options):
    """Call a layer's backward with those of the inputs that it takes; return a tuple of gradients.

    A loss has no upstream gradient: `grad_output` is None. A layer of several outputs has a tuple of them.
    """
    function = getattr(layers, f"{name}_backward")
    taken = {key: value for key, value in inputs.items() if key in inspect.signature(function).parameters}
    upstream = () if grad_output is None else as_tuple(grad_output)
    return as_tuple(function(*upstream, **taken, **options))


def as_tuple(arrays):
    """Return a function's one output, or its several, as a tuple."""
    return arrays if isinstance(arrays, tuple) else (arrays,)


def assert_layer_matches(name, reference, inputs, seed, constants=(), **options):
    """Check `name` and `name_backward` under a random upstream gradient.

    The loss is the sum of output times upstream gradient, so its derivative by the upstream gradient is the output:
    that checks the forward pass too. `reference` takes the inputs as tensors and by name.
    """
    from torch_reference import assert_gradients_match

    differentiated = [key for key, value in inputs.items() if value.dtype.kind == "f" and key not in constants]
    output = getattr(layers, name)(**inputs, **options)
    upstream = np.random.default_rng(seed).normal(size=output.shape).astype(output.dtype)

    def manual(grad_output, **inputs):
        gradients = backward_of(name, grad_output, inputs, options)
        return {"grad_output": getattr(layers, name)(**inputs, **options)} | dict(
            zip(differentiated, gradients, strict=True)
        )

    def loss(grad_output, **inputs):
        return (reference(**inputs) * grad_output).sum()

    assert_gradients_match(manual, loss, inputs | {"grad_output": upstream})
