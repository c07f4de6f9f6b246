"""Convolution of images, and the windows that slide over them, which pooling shares.

An image tensor is (N, C, H, W): examples, channels, rows, columns. Output pixel (h, w) sees the window of kh x kw
pixels that begins at row s_h h - p_h and column s_w w - p_w, with stride s and padding p.
"""

from collections.abc import Iterator

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from manual_backprop.arrays import Array

Pair = int | tuple[int, int]
"""One number for rows and columns, or one for each."""


def conv2d(x: Array, weight: Array, bias: Array, stride: Pair = 1, padding: Pair = 0) -> Array:
    """Return the cross-correlation, which the field calls convolution: the kernel is not flipped.

        y_nohw = b_o + sum_cij x_{n, c, s_h h + i - p_h, s_w w + j - p_w} W_ocij

    Pixels outside the image count as 0.

    Parameters
    ----------
    x : (N, C, H, W)
    weight : (O, C, kh, kw)
    bias : (O,)

    Returns
    -------
    (N, O, H', W'), with H' = floor((H + 2 p_h - kh) / s_h) + 1, and W' likewise

    Raises
    ------
    ValueError
        If shapes do not fit together, or stride or padding is out of range.
    """
    if weight.ndim != 4 or x.ndim != 4 or x.shape[1] != weight.shape[1] or bias.shape != weight.shape[:1]:
        raise ValueError(f"conv2d: x {x.shape}, weight {weight.shape} and bias {bias.shape} do not fit together")
    seen = windows(x, weight.shape[2:], stride, padding)
    output = np.tensordot(seen, weight, axes=((1, 4, 5), (1, 2, 3)))  # over c, i, j; leaves n, h, w and o
    return output.transpose(0, 3, 1, 2) + bias[:, np.newaxis, np.newaxis]


def conv2d_backward(
    grad_output: Array, x: Array, weight: Array, stride: Pair = 1, padding: Pair = 0
) -> tuple[Array, Array, Array]:
    """Carry dL/dy back through the convolution.

        dL/db_o    = sum_nhw dL/dy_nohw
        dL/dW_ocij = sum_nhw dL/dy_nohw x_{n, c, s_h h + i - p_h, s_w w + j - p_w}
        dL/dx_ncab = sum of dL/dy_nohw W_ocij over o and all h, w, i, j with s_h h + i - p_h = a and s_w w + j - p_w = b

    A kernel entry (i, j) sends the gradient of output pixel (h, w) to the pixel that it read; windows overlap, so what
    arrives is added up. Read from the side of x, i = a + p_h - s_h h falls as h grows: the kernel comes out flipped.

    Parameters
    ----------
    grad_output : (N, O, H', W')
    x : (N, C, H, W)
    weight : (O, C, kh, kw)

    Returns
    -------
    grad_x : (N, C, H, W)
    grad_weight : (O, C, kh, kw)
    grad_bias : (O,)
    """
    seen = windows(x, weight.shape[2:], stride, padding)
    grad_bias = grad_output.sum(axis=(0, 2, 3))
    grad_weight = np.tensordot(grad_output, seen, axes=((0, 2, 3), (0, 2, 3)))
    grad_padded = np.zeros_like(pad(x, padding))
    for i, j, read in positions(grad_output.shape[2:], weight.shape[2:], stride):
        grad_padded[read] += np.tensordot(weight[:, :, i, j], grad_output, axes=(0, 1)).swapaxes(0, 1)
    return crop(grad_padded, padding), grad_weight, grad_bias


def windows(x: Array, kernel: tuple[int, ...], stride: Pair, padding: Pair, fill: float = 0) -> Array:
    """Return a view (N, C, H', W', kh, kw) of the padded images: the window that each output pixel sees."""
    padded = pad(x, padding, fill)
    if min(kernel) < 1 or kernel[0] > padded.shape[2] or kernel[1] > padded.shape[3]:
        raise ValueError(f"kernel {tuple(kernel)}: larger than the padded image {padded.shape[2:]}, or empty")
    rows, columns = pair(stride, "stride", least=1)
    return sliding_window_view(padded, kernel, axis=(2, 3))[:, :, ::rows, ::columns]


def positions(
    output: tuple[int, ...], kernel: tuple[int, ...], stride: Pair
) -> Iterator[tuple[int, int, tuple[slice, ...]]]:
    """Yield each kernel entry (i, j) with the pixels of the padded images that it reads, one for each output pixel."""
    rows, columns = pair(stride, "stride", least=1)
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            down = slice(i, i + rows * (output[0] - 1) + 1, rows)
            across = slice(j, j + columns * (output[1] - 1) + 1, columns)
            yield i, j, (slice(None), slice(None), down, across)


def pad(x: Array, padding: Pair, fill: float = 0) -> Array:
    """Put a frame around the images."""
    if x.ndim != 4:
        raise ValueError(f"x: expected images (N, C, H, W), got {x.shape}")
    rows, columns = pair(padding, "padding", least=0)
    return np.pad(x, ((0, 0), (0, 0), (rows, rows), (columns, columns)), constant_values=fill)


def crop(padded: Array, padding: Pair) -> Array:
    """Take the frame away again."""
    rows, columns = pair(padding, "padding", least=0)
    return padded[:, :, rows : padded.shape[2] - rows, columns : padded.shape[3] - columns]


def pair(value: Pair, name: str, least: int) -> tuple[int, int]:
    """Return one number for rows and one for columns."""
    rows, columns = (value, value) if isinstance(value, int | np.integer) else value
    if min(rows, columns) < least:
        raise ValueError(f"{name}: expected {least} or more, got {value}")
    return rows, columns
