"""Convolution and pooling."""

import numpy as np
import torch
import torch.nn.functional as F

from wrong_derivations.mistake import Mistake


class Conv:
    """A padded convolution with ReLU behind it."""

    def inputs(self, rng):
        return {
            "x": rng.standard_normal((2, 3, 5, 5)),
            "weight": rng.standard_normal((3, 3, 3, 3)) / 3,
            "bias": 0.3 * rng.standard_normal(3),
            "dout": rng.standard_normal((2, 3, 5, 5)),
        }

    def manual(self, wrong, x, weight, bias, dout):
        padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
        product = np.einsum("nchwij,ocij->nohw", windows, weight)
        s = product + bias[:, None, None]
        mask = {"mask forgotten": np.ones_like(s), "mask without the bias": product > 0}.get(wrong, s > 0)
        ds = dout * mask
        if wrong == "relu for its mask":
            ds = dout * np.maximum(s, 0)
        kernel = weight
        if wrong == "kernel flipped":
            kernel = weight[:, :, ::-1, ::-1]
        if wrong == "channels not swapped":
            kernel = weight.transpose(1, 0, 2, 3)
        if wrong == "rows and columns swapped":
            kernel = weight.transpose(0, 1, 3, 2)
        dpadded = np.zeros_like(padded)
        for i in range(5):
            for j in range(5):
                if wrong == "windows overwritten":
                    dpadded[:, :, i : i + 3, j : j + 3] = 0
                dpadded[:, :, i : i + 3, j : j + 3] += np.einsum("no,ocij->ncij", ds[:, :, i, j], kernel)
        seen = windows
        if wrong == "activation of the input":
            seen = np.maximum(windows, 0)
        dweight = np.einsum("nohw,nchwij->ocij", ds, seen)
        dbias = ds.sum((0, 2, 3))
        if wrong == "bias before the mask":
            dbias = dout.sum((0, 2, 3))
        return {"weight": dweight, "bias": dbias, "x": dpadded[:, :, 1:-1, 1:-1]}

    def fused(self, x, weight, bias, dout):
        s = F.conv2d(x, weight, bias, padding=1)
        h = F.relu(s)
        return (h * dout).sum()


class MaxPool:
    """2 x 2 windows behind a scale for each channel."""

    def inputs(self, rng):
        x, dout = rng.standard_normal((2, 3, 4, 4)), rng.standard_normal((2, 3, 2, 2))
        return {"x": x, "scale": rng.standard_normal((3, 1, 1)), "dout": dout}

    def manual(self, wrong, x, scale, dout):
        y = x * scale
        windows = y.reshape(2, 3, 2, 2, 2, 2)
        largest = windows == windows.max(axis=(3, 5), keepdims=True)
        if wrong == "smallest for largest":
            largest = windows == windows.min(axis=(3, 5), keepdims=True)
        if wrong == "largest size":
            largest = np.abs(windows) == np.abs(windows).max(axis=(3, 5), keepdims=True)
        share = {"shared evenly": 0.25, "copied to all": 1.0}.get(wrong, largest)
        dy = (share * dout[:, :, :, None, :, None] * np.ones_like(windows)).reshape(y.shape)
        if wrong == "maximum for its mask":
            dy = dy * y
        return {"x": dy * scale, "scale": (dy * x).sum((0, 2, 3)).reshape(3, 1, 1)}

    def fused(self, x, scale, dout):
        pooled = F.max_pool2d(x * scale, 2)
        return (pooled * dout).sum()

    def written(self, x, scale, dout):
        windows = (x * scale).reshape(2, 3, 2, 2, 2, 2)
        pooled = windows.amax(dim=(3, 5))
        return (pooled * dout).sum()


class AvgPool:
    """Overlapping windows."""

    def inputs(self, rng):
        return {"x": rng.standard_normal((2, 2, 5, 5)), "dout": rng.standard_normal((2, 2, 4, 4))}

    def manual(self, wrong, x, dout):
        s = np.tanh(x)
        ds = np.zeros_like(x)
        for i in range(4):
            for j in range(4):
                share = dout[:, :, i : i + 1, j : j + 1] / 4
                if wrong == "overwritten":
                    ds[:, :, i : i + 2, j : j + 2] = share
                else:
                    ds[:, :, i : i + 2, j : j + 2] += share
        slope = {"tanh for its derivative": s, "plus the square": 1 + s**2}.get(wrong, 1 - s**2)
        return {"x": ds * slope}

    def fused(self, x, dout):
        h = torch.tanh(x)
        y = F.avg_pool2d(h, 2, stride=1)
        return (y * dout).sum()


D, P, E = "derivative", "path", "derivative|path"
CONV = r"conv2d in line \d+, s ="

MISTAKES = (
    Mistake(Conv, "mask forgotten", D, r"relu in line \d+, h ="),
    Mistake(Conv, "mask without the bias", D, r"relu in line \d+, h ="),
    Mistake(Conv, "relu for its mask", D, r"relu in line \d+, h ="),
    Mistake(Conv, "kernel flipped", D, CONV),
    Mistake(Conv, "channels not swapped", D, CONV),
    Mistake(Conv, "rows and columns swapped", D, CONV),
    Mistake(Conv, "windows overwritten", D, CONV),
    Mistake(Conv, "activation of the input", D, CONV),
    Mistake(Conv, "bias before the mask", D, r"line \d+, (h|s) ="),
    Mistake(MaxPool, "shared evenly", D, r"max_pool2d in line", r"amax in line"),
    Mistake(MaxPool, "copied to all", D, r"max_pool2d in line", r"amax in line"),
    Mistake(MaxPool, "smallest for largest", D, r"max_pool2d in line", r"amax in line"),
    Mistake(MaxPool, "maximum for its mask", D, r"line \d+, (pooled|return)", r"line \d+, (pooled|return)"),
    Mistake(AvgPool, "overwritten", D, r"avg_pool2d in line"),
    Mistake(AvgPool, "tanh for its derivative", D, r"tanh in line"),
    Mistake(AvgPool, "plus the square", D, r"tanh in line"),
)
