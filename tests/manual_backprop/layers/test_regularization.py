"""Dropout against its definition in PyTorch, and on what it has to refuse."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes

from manual_backprop.layers import dropout, dropout_backward

torch = pytest.importorskip("torch")
from torch_reference import assert_gradients_match  # noqa: E402 (needs torch)

DTYPES = st.sampled_from([np.float32, np.float64])


def draw(seed, shape, dtype, p):
    rng = np.random.default_rng(seed)
    x, grad_output = rng.normal(size=(2, *shape)).astype(dtype)
    return {"x": x, "grad_output": grad_output, "keep": rng.random(shape) >= p}


@given(st.integers(0, 2**32), array_shapes(max_dims=4, max_side=5), DTYPES, st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.9]))
def test_gradient_is_autograds(seed, shape, dtype, p):
    def manual(x, grad_output, keep):
        return {"x": dropout_backward(grad_output, x, keep, p)}

    def reference(x, grad_output, keep):
        return (torch.where(keep, x / (1 - p), 0) * grad_output).sum()

    assert_gradients_match(manual, reference, draw(seed, shape, dtype, p))


@given(st.integers(0, 2**32), DTYPES, st.sampled_from([0.1, 0.25, 0.5, 0.9]))
def test_outputs_are_pytorchs_for_the_mask_that_pytorch_drew(seed, dtype, p):
    x = draw(seed, (7, 5), dtype, p)["x"]
    torch.manual_seed(seed)
    expected = torch.nn.functional.dropout(torch.from_numpy(x), p).numpy()
    y = dropout(x, expected != 0, p)
    # PyTorch multiplies by 1 / (1 - p), which rounds twice
    np.testing.assert_allclose(y, expected, rtol=2 * np.finfo(dtype).eps)
    assert y.dtype == dtype


def test_the_mean_over_masks_is_the_input(rng):
    x, p = rng.normal(size=4), 0.3
    mean = np.mean([dropout(x, rng.random(4) >= p, p) for _ in range(20_000)], axis=0)
    # five standard deviations of the mean of 20,000 draws
    np.testing.assert_allclose(mean, x, atol=5 * np.abs(x).max() * np.sqrt(p / (1 - p) / 20_000))


def test_all_entries_may_be_kept_or_dropped(rng):
    x = rng.normal(size=(3, 4))
    np.testing.assert_array_equal(dropout(x, np.ones((3, 4), bool), 0), x)
    np.testing.assert_array_equal(dropout(x, np.zeros((3, 4), bool), 1), np.zeros((3, 4)))
    np.testing.assert_array_equal(dropout_backward(x, x, np.zeros((3, 4), bool), 1), np.zeros((3, 4)))


def test_a_dropped_entry_may_be_infinite():
    y = dropout(np.array([np.inf, 1]), np.array([False, True]), 0.5)
    np.testing.assert_array_equal(y, [0, 2])


@pytest.mark.parametrize(
    ("keep", "p", "message"),
    [
        (np.ones((2, 2), bool), 0.5, r"keep: expected bool \(2, 3\), the shape of x, got bool \(2, 2\)"),
        (np.ones((2, 3)), 0.5, r"keep: expected bool \(2, 3\), the shape of x, got float64 \(2, 3\)"),
        (np.ones((2, 3), bool), 1.5, "p: expected a probability from 0 to 1, got 1.5"),
        (np.ones((2, 3), bool), -0.5, "p: expected a probability from 0 to 1, got -0.5"),
        (np.ones((2, 3), bool), np.nan, "p: expected a probability from 0 to 1, got nan"),
    ],
)
def test_what_does_not_fit_is_refused(keep, p, message):
    x = np.ones((2, 3))
    with pytest.raises(ValueError, match=f"^{message}$"):
        dropout(x, keep, p)
    with pytest.raises(ValueError, match=f"^{message}$"):
        dropout_backward(x, x, keep, p)
