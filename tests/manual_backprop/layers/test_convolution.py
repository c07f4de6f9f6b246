"""Convolution against PyTorch's: strides, padding, overlap, odd sizes, one example, one channel, one pixel."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from layer_checks import DTYPES, SEEDS, assert_layer_matches, normal

from manual_backprop import layers

torch = pytest.importorskip("torch")
F = torch.nn.functional

SIZES = st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 7), st.integers(1, 6))  # N, C, H, W
PAIRS = st.integers(1, 3) | st.tuples(st.integers(1, 3), st.integers(1, 3))
PADDING = st.integers(0, 2) | st.tuples(st.integers(0, 2), st.integers(0, 2))


@settings(max_examples=30)
@given(DTYPES, SEEDS, SIZES, st.integers(1, 3), st.tuples(st.integers(1, 4), st.integers(1, 4)), PAIRS, PADDING)
def test_against_autograd(dtype, seed, size, filters, kernel, stride, padding):
    rows, columns = padding if isinstance(padding, tuple) else (padding, padding)
    assume(kernel[0] <= size[2] + 2 * rows and kernel[1] <= size[3] + 2 * columns)
    inputs = normal(seed, dtype, x=size, weight=(filters, size[1], *kernel), bias=(filters,))
    if seed % 2:
        inputs["x"][:, :, ::2] = 0
    reference = lambda x, weight, bias: F.conv2d(x, weight, bias, stride, padding)  # noqa: E731
    assert_layer_matches("conv2d", reference, inputs, seed, stride=stride, padding=padding)


def test_the_sum_written_out(rng):
    x, weight, bias = (rng.integers(-9, 9, shape) * 1.0 for shape in ((2, 3, 5, 4), (2, 3, 2, 3), (2,)))
    output = layers.conv2d(x, weight, bias, stride=(2, 1), padding=(0, 1))
    padded = np.pad(x, ((0, 0), (0, 0), (0, 0), (1, 1)))
    assert output.shape == (2, 2, 2, 4)
    for n, o, h, w in np.ndindex(output.shape):
        expected = bias[o] + (padded[n, :, 2 * h : 2 * h + 2, w : w + 3] * weight[o]).sum()
        assert output[n, o, h, w] == expected  # small integers: exact


def test_a_whole_number_of_any_kind_is_a_stride(rng):
    inputs = normal(0, np.float64, x=(1, 1, 5, 5), weight=(1, 1, 2, 2), bias=(1,))
    np.testing.assert_array_equal(
        layers.conv2d(**inputs, stride=np.int64(2)), layers.conv2d(**inputs, stride=(2, 2), padding=np.int32(0))
    )


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"weight": np.zeros((4, 2, 3, 3))}, r"x \(2, 3, 5, 5\), weight \(4, 2, 3, 3\) and bias \(4,\) do not fit"),
        ({"bias": np.zeros(3)}, "do not fit together"),
        ({"x": np.zeros((2, 75))}, "do not fit together"),
        ({"weight": np.zeros((4, 3, 6, 3))}, r"kernel \(6, 3\): larger than the padded image \(5, 5\)"),
        ({"stride": 0}, "stride: expected 1 or more, got 0"),
        ({"padding": (0, -1)}, r"padding: expected 0 or more, got \(0, -1\)"),
    ],
)
def test_refuses_what_does_not_fit(changed, message):
    right = {"x": np.zeros((2, 3, 5, 5)), "weight": np.zeros((4, 3, 3, 3)), "bias": np.zeros(4)}
    with pytest.raises(ValueError, match=message):
        layers.conv2d(**right | changed)
