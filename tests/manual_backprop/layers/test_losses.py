"""The losses over all entries against PyTorch's; cross-entropy is in test_layers.py and test_gradients.py."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layer_checks import DTYPES, SEEDS, normal

from manual_backprop import layers

torch = pytest.importorskip("torch")
F = torch.nn.functional

from torch_reference import assert_gradients_match  # noqa: E402 (needs torch)

SHAPES = st.lists(st.integers(1, 6), min_size=1, max_size=3).map(tuple)
LOSSES = {
    "mse_loss": F.mse_loss,
    "binary_cross_entropy_with_logits": F.binary_cross_entropy_with_logits,
}


@pytest.mark.parametrize("name", LOSSES)
@settings(max_examples=30)
@given(DTYPES, SEEDS, SHAPES, st.sampled_from([1, 30, 1000]), st.sampled_from(["soft", "hard", "integers"]))
def test_against_autograd(name, dtype, seed, shape, scale, kind):
    targets = np.random.default_rng(seed).uniform(size=shape).astype(dtype)
    if kind != "soft":
        targets = np.round(targets).astype(dtype if kind == "hard" else np.int64)

    # times a number that is an input: its gradient is the loss, so that is checked too
    def manual(x, scale):
        loss = getattr(layers, name)(x, targets)
        assert loss.dtype == dtype
        return {"x": scale * getattr(layers, f"{name}_backward")(x, targets), "scale": loss}

    def reference(x, scale):
        return LOSSES[name](x, torch.from_numpy(targets).to(x.dtype)) * scale

    inputs = normal(seed, dtype, x=shape, scale=())
    inputs = {"x": inputs["x"] * dtype(scale), "scale": np.asarray(inputs["scale"])}
    assert_gradients_match(manual, reference, inputs)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.longdouble])
def test_logits_overflow_nothing(dtype):
    logits, targets = np.array([-1e30, 1e30, -1e30, 1e30], dtype), np.array([0, 1, 1, 0])
    assert layers.binary_cross_entropy_with_logits(logits, targets) == dtype(1e30) / 2
    gradient = layers.binary_cross_entropy_with_logits_backward(logits, targets)
    np.testing.assert_array_equal(gradient, [0, 0, -0.25, 0.25])


@pytest.mark.parametrize("name", LOSSES)
def test_refuses_targets_of_another_shape(name):
    for function in (getattr(layers, name), getattr(layers, f"{name}_backward")):
        with pytest.raises(ValueError, match=r"targets: expected \(3, 1\), .* got \(3,\)"):
            function(np.zeros((3, 1)), np.zeros(3))
