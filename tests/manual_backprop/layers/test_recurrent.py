"""LSTM and GRU against PyTorch's own: outputs, and a random gradient for each of them."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from manual_backprop.layers import gru, gru_backward, lstm, lstm_backward

torch = pytest.importorskip("torch")
from torch_reference import assert_gradients_match  # noqa: E402 (needs torch)

WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
SIDES = st.integers(1, 4)
PROBLEMS = {
    "seed": st.integers(0, 2**32),
    "dtype": st.sampled_from([np.float32, np.float64]),
    "length": st.integers(1, 6),
    "count": SIDES,
    "features": SIDES,
    "units": SIDES,
    "scale": st.sampled_from([0, 1, 1, 1, 5]),  # 5: gates that are nearly open or shut
}
LONG = {"length": 60, "count": 2, "features": 3, "units": 4, "scale": 1}


def draw(gates, states, seed, dtype, length, count, features, units, scale):
    rng = np.random.default_rng(seed)
    shapes = {
        "grad_outputs": (length, count, units),
        "x": (length, count, features),
        "weight_ih": (gates * units, features),
        "weight_hh": (gates * units, units),
        "bias_ih": (gates * units,),
        "bias_hh": (gates * units,),
    }
    shapes |= dict.fromkeys([*states, *(f"grad_{state[0]}" for state in states)], (count, units))
    inputs = {name: rng.normal(size=shape).astype(dtype) for name, shape in shapes.items()}
    for name in WEIGHTS:
        inputs[name] *= scale / np.sqrt(units).astype(dtype)
    return inputs


def pytorchs_lstm(x, h0, c0, weights):
    outputs, h, c = torch.lstm(x, (h0[None], c0[None]), weights, True, 1, 0.0, True, False, False)
    return outputs, h[0], c[0]


def pytorchs_gru(x, h0, weights):
    outputs, h = torch.gru(x, h0[None], weights, True, 1, 0.0, True, False, False)
    return outputs, h[0]


class TestLSTM:
    @given(**PROBLEMS)
    @settings(max_examples=15)
    @example(seed=0, dtype=np.float32, **LONG)
    @example(seed=1, dtype=np.float64, **LONG)
    def test_gradients_are_autograds(self, **problem):
        names = ("x", "h0", "c0", *WEIGHTS)

        def manual(grad_outputs, grad_h, grad_c, **arguments):
            gradients = lstm_backward(grad_outputs, grad_h, grad_c, **arguments)
            return dict(zip(names, gradients, strict=True))

        def reference(grad_outputs, grad_h, grad_c, x, h0, c0, **weights):
            outputs, h, c = pytorchs_lstm(x, h0, c0, [weights[name] for name in WEIGHTS])
            return (outputs * grad_outputs).sum() + (h * grad_h).sum() + (c * grad_c).sum()

        assert_gradients_match(manual, reference, draw(4, ("h0", "c0"), **problem))

    @given(**PROBLEMS)
    @settings(max_examples=15)
    def test_outputs_are_pytorchs(self, **problem):
        inputs = draw(4, ("h0", "c0"), **problem)
        outputs = lstm(*(inputs[name] for name in ("x", "h0", "c0", *WEIGHTS)))
        tensors = {name: torch.from_numpy(value).double() for name, value in inputs.items()}
        expected = pytorchs_lstm(*(tensors[name] for name in ("x", "h0", "c0")), [tensors[name] for name in WEIGHTS])
        for array, tensor in zip(outputs, expected, strict=True):
            assert_close(array, tensor.numpy(), problem["dtype"])

    def test_state_and_cell_are_new_arrays(self):
        inputs = draw(4, ("h0", "c0"), 0, np.float64, 3, 2, 2, 2, 1)
        outputs, h, c = lstm(*(inputs[name] for name in ("x", "h0", "c0", *WEIGHTS)))
        np.testing.assert_array_equal(h, outputs[-1])
        assert not any(np.shares_memory(outputs, last) for last in (h, c))

    def test_no_two_gradients_share_memory(self):
        gradients = lstm_backward(**draw(4, ("h0", "c0"), 0, np.float64, 3, 2, 2, 2, 1))
        pairs = [(a, b) for i, a in enumerate(gradients) for b in gradients[:i]]
        assert not any(np.shares_memory(a, b) for a, b in pairs)


class TestGRU:
    @given(**PROBLEMS)
    @settings(max_examples=15)
    @example(seed=0, dtype=np.float32, **LONG)
    @example(seed=1, dtype=np.float64, **LONG)
    def test_gradients_are_autograds(self, **problem):
        names = ("x", "h0", *WEIGHTS)

        def manual(grad_outputs, grad_h, **arguments):
            return dict(zip(names, gru_backward(grad_outputs, grad_h, **arguments), strict=True))

        def reference(grad_outputs, grad_h, x, h0, **weights):
            outputs, h = pytorchs_gru(x, h0, [weights[name] for name in WEIGHTS])
            return (outputs * grad_outputs).sum() + (h * grad_h).sum()

        assert_gradients_match(manual, reference, draw(3, ("h0",), **problem))

    @given(**PROBLEMS)
    @settings(max_examples=15)
    def test_outputs_are_pytorchs(self, **problem):
        inputs = draw(3, ("h0",), **problem)
        outputs = gru(*(inputs[name] for name in ("x", "h0", *WEIGHTS)))
        tensors = {name: torch.from_numpy(value).double() for name, value in inputs.items()}
        expected = pytorchs_gru(tensors["x"], tensors["h0"], [tensors[name] for name in WEIGHTS])
        for array, tensor in zip(outputs, expected, strict=True):
            assert_close(array, tensor.numpy(), problem["dtype"])


def assert_close(array, expected, dtype):
    """A state is below 6, a pre-activation below 100; six steps of a few products each pass their roundings on."""
    np.testing.assert_allclose(array, expected, rtol=0, atol=5000 * np.finfo(dtype).eps)
    assert array.dtype == dtype


SHAPES = {"x": (5, 2, 3), "h0": (2, 4), "c0": (2, 4), "weight_ih": (16, 3), "weight_hh": (16, 4)}
SHAPES |= {"bias_ih": (16,), "bias_hh": (16,)}


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("x", (5, 3), r"expected x \(T, N, F\) and weight_hh \(4H, H\), got \(5, 3\) and \(16, 4\)"),
        ("x", (5, 2, 4), r"weight_ih: expected \(16, 4\) with x \(5, 2, 4\) and 4 units, got \(16, 3\)"),
        ("h0", (2, 5), r"h0: expected \(2, 4\) with x \(5, 2, 3\) and 4 units, got \(2, 5\)"),
        ("c0", (1, 4), r"c0: expected \(2, 4\) with x \(5, 2, 3\) and 4 units, got \(1, 4\)"),
        ("weight_hh", (12, 4), r"weight_hh: expected \(16, 4\) with x \(5, 2, 3\) and 4 units, got \(12, 4\)"),
        ("bias_hh", (1, 16), r"bias_hh: expected \(16,\) with x \(5, 2, 3\) and 4 units, got \(1, 16\)"),
    ],
)
def test_what_does_not_fit_is_refused(name, shape, message):
    arguments = {key: np.ones(value) for key, value in (SHAPES | {name: shape}).items()}
    with pytest.raises(ValueError, match=f"^{message}$"):
        lstm(**arguments)
    with pytest.raises(ValueError, match=f"^{message}$"):
        lstm_backward(np.ones((5, 2, 4)), np.ones((2, 4)), np.ones((2, 4)), **arguments)
