"""Pooling against PyTorch's: overlap, gaps, padding, odd sizes, ties."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from layer_checks import DTYPES, SEEDS, assert_layer_matches, normal

from manual_backprop import layers

torch = pytest.importorskip("torch")
F = torch.nn.functional

SIZES = st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 7), st.integers(1, 6))  # N, C, H, W
LEVELS = st.sampled_from([None, 1, 0])  # rounded to few levels, maxima tie; at 0 all of them
PAIRS = st.integers(1, 4) | st.tuples(st.integers(1, 4), st.integers(1, 4))


@st.composite
def windows(draw):
    """Draw a size, a kernel that fits, a stride and a padding of at most half the kernel."""
    size, kernel, stride = draw(SIZES), draw(PAIRS), draw(st.none() | PAIRS)
    rows, columns = kernel if isinstance(kernel, tuple) else (kernel, kernel)
    padding = draw(st.tuples(st.integers(0, rows // 2), st.integers(0, columns // 2)))
    assume(rows <= size[2] + 2 * padding[0] and columns <= size[3] + 2 * padding[1])
    return size, kernel, stride, padding


@settings(max_examples=30)
@given(LEVELS, DTYPES, SEEDS, windows())
def test_max_pooling_against_autograd(levels, dtype, seed, drawn):
    size, kernel, stride, padding = drawn
    inputs = normal(seed, dtype, x=size)
    if levels is not None:
        inputs["x"] = np.round(inputs["x"] * dtype(levels))
    reference = lambda x: F.max_pool2d(x, kernel, stride, padding)  # noqa: E731
    assert_layer_matches("max_pool2d", reference, inputs, seed, kernel_size=kernel, stride=stride, padding=padding)


@settings(max_examples=30)
@given(DTYPES, SEEDS, windows())
def test_average_pooling_against_autograd(dtype, seed, drawn):
    size, kernel, stride, padding = drawn
    reference = lambda x: F.avg_pool2d(x, kernel, stride, padding)  # noqa: E731
    inputs = normal(seed, dtype, x=size)
    assert_layer_matches("avg_pool2d", reference, inputs, seed, kernel_size=kernel, stride=stride, padding=padding)


@settings(max_examples=30)
@given(SEEDS, windows())
def test_tied_maxima_give_all_to_the_first_as_pytorch(seed, drawn):
    size, kernel, stride, padding = drawn
    x = np.random.default_rng(seed).integers(0, 2, size).astype(float)
    tensor = torch.tensor(x, requires_grad=True)
    output = F.max_pool2d(tensor, kernel, stride, padding)
    upstream = np.random.default_rng(seed).integers(-9, 9, output.shape).astype(float)
    output.backward(torch.from_numpy(upstream))
    # small integers: exact; a kink could take any of the tied pixels, and autograd's choice is wanted
    np.testing.assert_array_equal(layers.max_pool2d_backward(upstream, x, kernel, stride, padding), tensor.grad)


def test_the_frame_gets_no_gradient_where_all_pixels_are_infinitely_small():
    x = np.full((1, 1, 3, 3), -np.inf)
    # windows begin in the frame: the first pixel inside the image is taken, as by PyTorch
    expected = [[1, 2, 0], [3, 4, 0], [0, 0, 0]]
    np.testing.assert_array_equal(
        layers.max_pool2d_backward(np.array([[[[1.0, 2], [3, 4]]]]), x, 2, 2, 1)[0, 0], expected
    )


@pytest.mark.parametrize("pool", [layers.max_pool2d, layers.avg_pool2d])
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernel_size": 3, "padding": 2}, "padding: expected at most half of kernel_size 3, got 2"),
        ({"kernel_size": 0}, "kernel_size: expected 1 or more, got 0"),
        ({"kernel_size": (2, 6)}, r"kernel \(2, 6\): larger than the padded image \(4, 5\)"),
        ({"kernel_size": 2, "stride": 0}, "stride: expected 1 or more, got 0"),
    ],
)
def test_refuses_windows_that_do_not_fit(pool, options, message):
    with pytest.raises(ValueError, match=message):
        pool(np.zeros((1, 1, 4, 5)), **options)
    with pytest.raises(ValueError, match=r"expected images \(N, C, H, W\), got \(4, 5\)"):
        pool(np.zeros((4, 5)), 2)
