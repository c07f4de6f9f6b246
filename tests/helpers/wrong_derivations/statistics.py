"""Normalisations with the statistics of other axes or of another kind, and a gain in the wrong place."""

import numpy as np
import torch
import torch.nn.functional as F

from wrong_derivations.mistake import Mistake


class Features:
    """Batch normalisation of (N, D) with a gain and a bias, derived by the formula in three terms."""

    def inputs(self, rng):
        return {
            "x": 2 * rng.standard_normal((8, 5)) + 1,
            "gain": rng.standard_normal(5),
            "bias": rng.standard_normal(5),
            "dout": rng.standard_normal((8, 5)),
        }

    def manual(self, wrong, x, gain, bias, dout):
        mean, var, epsilon = x.mean(0), x.var(0), 1e-5
        if wrong in {"mean over the features", "both over the features"}:
            mean = x.mean(1, keepdims=True)
        if wrong in {"variance over the features", "both over the features"}:
            var = x.var(1, keepdims=True)
        if wrong == "mean of everything":
            mean = x.mean()
        if wrong == "mean not subtracted":
            mean = 0
        if wrong == "mean square for the variance":
            var = (x**2).mean(0)
        if wrong == "epsilon of another framework":
            epsilon = 1e-3
        inverse = 1 / np.sqrt(var + epsilon)
        y = (x - mean) * inverse
        dy = dout * gain
        axis = 1 if wrong == "means over the features in the gradient" else 0
        means = dy.mean(axis, keepdims=True) + y * (dy * y).mean(axis, keepdims=True)
        if wrong == "sums for both means":
            means = len(x) * means
        dx = inverse * (dy - means)
        return {"x": dx, "gain": (dout * y).sum(0), "bias": dout.sum(0)}

    def fused(self, x, gain, bias, dout):
        y = F.batch_norm(x, None, None, gain, bias, training=True)
        return (y * dout).sum()

    def written(self, x, gain, bias, dout):
        mu = x.mean(0)
        var = ((x - mu) ** 2).mean(0)
        z = (x - mu) / torch.sqrt(var + 1e-5)
        y = gain * z + bias
        return (y * dout).sum()


class Rows:
    """Layer normalisation: the gain differs along the axis of the statistics."""

    inputs = Features.inputs

    def manual(self, wrong, x, gain, bias, dout):
        axis = {"axis": -1, "keepdims": True}
        mean, inverse = x.mean(**axis), 1 / np.sqrt(x.var(**axis) + 1e-5)
        y = (x - (0 if wrong == "mean not subtracted" else mean)) * inverse
        dy = dout if wrong == "gain multiplied last" else dout * gain
        dx = inverse * (dy - dy.mean(**axis) - y * (dy * y).mean(**axis))
        return {
            "x": dx * gain if wrong == "gain multiplied last" else dx,
            "gain": (dout * y).sum(0),
            "bias": dout.sum(0),
        }

    def fused(self, x, gain, bias, dout):
        y = F.layer_norm(x, (5,), gain, bias)
        return (y * dout).sum()


class Dropout:
    """A network of two layers with a given mask between."""

    def inputs(self, rng):
        return {
            "x": rng.standard_normal((6, 5)),
            "W1": rng.standard_normal((5, 7)),
            "W2": rng.standard_normal((7, 3)),
            "keep": rng.random((6, 7)) < 0.6,
            "dout": rng.standard_normal((6, 3)),
        }

    def manual(self, wrong, x, W1, W2, keep, dout):
        s = x @ W1
        h = np.maximum(s, 0)
        dropped = h if wrong == "left out of the forward pass" else h * keep / 0.6
        dz = dout * (dropped @ W2)
        dh = dz @ W2.T * (~keep if wrong == "mask reversed" else keep) / 0.6
        if wrong == "left out of the backward pass":
            dh = dz @ W2.T
        ds = dh * (s > 0)
        return {"W2": dropped.T @ dz, "W1": x.T @ ds, "x": ds @ W1.T}

    def fused(self, x, W1, W2, keep, dout):
        h = torch.relu(x @ W1)
        dropped = h * keep / 0.6
        z = dropped @ W2
        return (z**2 * dout).sum() / 2

    def written(self, x, W1, W2, keep, dout):
        h = torch.relu(x @ W1)
        dropped = torch.where(keep, h / 0.6, 0.0)
        z = dropped @ W2
        return (z**2 * dout).sum() / 2


D, E = "derivative", "derivative|path"
BN, Z = r"batch_norm in line \d+, y =", r"line \d+, (z|var|mu) ="
LN = r"layer_norm in line \d+, y ="
DROP = r"(mul|div|where) in line \d+, dropped ="

MISTAKES = (
    Mistake(Features, "mean over the features", D, BN + ".*axis 1", Z),
    Mistake(Features, "variance over the features", D, BN + ".*axis 1", Z),
    Mistake(Features, "both over the features", D, BN + ".*axis 1", Z),
    Mistake(Features, "mean of everything", D, BN + ".*axes 0, 1", Z),
    Mistake(Features, "mean not subtracted", D, BN + ".*not subtracted", Z),
    Mistake(Features, "mean square for the variance", D, BN + ".*mean square", Z),
    Mistake(Features, "epsilon of another framework", D, BN + ".*epsilon is 0.001", Z),
    Mistake(Features, "means over the features in the gradient", D, BN + ".*axis 1", Z),
    Mistake(Features, "sums for both means", D, BN + ".*multiplied by 8", Z),
    Mistake(Rows, "mean not subtracted", D, LN + ".*not subtracted"),
    Mistake(Rows, "gain multiplied last", D, LN + ".*factor"),
    Mistake(Dropout, "left out of the forward pass", D, DROP, DROP),
    Mistake(Dropout, "left out of the backward pass", E, DROP, DROP),
    Mistake(Dropout, "mask reversed", D, DROP, DROP),
)
