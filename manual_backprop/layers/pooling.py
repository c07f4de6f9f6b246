"""Pooling: one number for each window of an image, channel by channel. The windows are those of `convolution`."""

import numpy as np

from manual_backprop.arrays import Array
from manual_backprop.layers.convolution import Pair, crop, pad, pair, positions, windows


def max_pool2d(x: Array, kernel_size: Pair, stride: Pair | None = None, padding: Pair = 0) -> Array:
    """Return the largest number of each window.

        y_nchw = max over i, j of x_{n, c, s_h h + i - p_h, s_w w + j - p_w}

    Pixels outside the image count as -∞.

    Parameters
    ----------
    x : (N, C, H, W)
    stride : None for that of the kernel's size, so that windows stand side by side

    Returns
    -------
    (N, C, H', W'), as `conv2d`

    Raises
    ------
    ValueError
        If the kernel is larger than the image, or the padding than half the kernel.
    """
    kernel, stride = _sizes(kernel_size, stride, padding)
    return windows(x, kernel, stride, padding, fill=-np.inf).max(axis=(4, 5))


def max_pool2d_backward(
    grad_output: Array, x: Array, kernel_size: Pair, stride: Pair | None = None, padding: Pair = 0
) -> Array:
    """Send the gradient of each output pixel to the pixel that it was taken from.

        dL/dx_ncab = sum of dL/dy_nchw over the windows (h, w) whose maximum is pixel (a, b)

    The others of a window get 0. Of tied maxima the first in reading order gets all, as in PyTorch.

    Parameters
    ----------
    grad_output : (N, C, H', W')
    x : (N, C, H, W)
    """
    kernel, stride = _sizes(kernel_size, stride, padding)
    above_frame = np.maximum(x, np.finfo(x.dtype).min)  # so that a pixel of -∞ comes before the frame around the image
    seen = windows(above_frame, kernel, stride, padding, fill=-np.inf)
    largest = seen.reshape(*seen.shape[:4], kernel[0] * kernel[1]).argmax(axis=-1)  # the first of equals
    grad_padded = np.zeros_like(pad(x, padding))
    for i, j, read in positions(grad_output.shape[2:], kernel, stride):
        grad_padded[read] += grad_output * (largest == i * kernel[1] + j)
    return crop(grad_padded, padding)


def avg_pool2d(x: Array, kernel_size: Pair, stride: Pair | None = None, padding: Pair = 0) -> Array:
    """Return the mean of each window.

        y_nchw = 1/(kh kw) sum_ij x_{n, c, s_h h + i - p_h, s_w w + j - p_w}

    Pixels outside the image count as 0, and they do count: the divisor is always kh kw, as in PyTorch.

    Parameters, result and errors are those of `max_pool2d`.
    """
    kernel, stride = _sizes(kernel_size, stride, padding)
    return windows(x, kernel, stride, padding).mean(axis=(4, 5))


def avg_pool2d_backward(
    grad_output: Array, x: Array, kernel_size: Pair, stride: Pair | None = None, padding: Pair = 0
) -> Array:
    """Share the gradient of each output pixel out among all pixels of its window.

        dL/dx_ncab = 1/(kh kw) sum of dL/dy_nchw over the windows (h, w) that hold pixel (a, b)

    Parameters
    ----------
    grad_output : (N, C, H', W')
    x : (N, C, H, W); only its shape matters
    """
    kernel, stride = _sizes(kernel_size, stride, padding)
    grad_padded = np.zeros_like(pad(x, padding))
    for _, _, read in positions(grad_output.shape[2:], kernel, stride):
        grad_padded[read] += grad_output / (kernel[0] * kernel[1])
    return crop(grad_padded, padding)


def _sizes(kernel_size: Pair, stride: Pair | None, padding: Pair) -> tuple[tuple[int, int], Pair]:
    kernel = pair(kernel_size, "kernel_size", least=1)
    rows, columns = pair(padding, "padding", least=0)
    if rows > kernel[0] // 2 or columns > kernel[1] // 2:
        raise ValueError(f"padding: expected at most half of kernel_size {kernel_size}, got {padding}")
    return kernel, kernel if stride is None else stride
