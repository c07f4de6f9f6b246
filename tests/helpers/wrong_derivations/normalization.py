"""Batch, layer and rms normalisation."""

import numpy as np
import torch
import torch.nn.functional as F

from wrong_derivations.mistake import Mistake


class BatchNorm:
    """Over the batch, with gain and shift, behind a linear layer."""

    def inputs(self, rng):
        return {
            "x": rng.standard_normal((8, 4)),
            "W": rng.standard_normal((4, 5)),
            "gain": 1 + 0.3 * rng.standard_normal(5),
            "shift": rng.standard_normal(5),
            "dout": rng.standard_normal((8, 5)),
        }

    def manual(self, wrong, x, W, gain, shift, dout):
        u = x @ W
        N = len(u)
        eps = 0 if wrong == "epsilon left out" else 1e-3
        mu = u.mean(0)
        if wrong == "mean over the features":
            mu = u.mean(1, keepdims=True)
        var = u.var(0, ddof=1 if wrong == "n - 1" else 0)
        std = np.sqrt(var) + eps if wrong == "epsilon outside the root" else np.sqrt(var + eps)
        z = (u - mu) / std
        if wrong == "mean not subtracted":
            z = u / std
        if wrong == "variance for deviation":
            z = (u - mu) / (var + eps)
        dz = dout if wrong == "gain left out" else dout * gain
        dgain = (dout * z).sum(0)
        if wrong == "input in the gain's gradient":
            dgain = (dout * u).sum(0)
        if wrong == "centred input in the gain's gradient":
            dgain = (dout * (u - mu)).sum(0)
        dstd = -(dz * (u - mu)).sum(0) / std**2
        if wrong == "variance positive":
            dstd = -dstd
        if wrong == "exponent of the deviation":
            dstd = -(dz * (u - mu)).sum(0) / std
        if wrong == "inverse deviation left out":
            std = np.ones_like(std)
        dvar = dstd / std / (1 if wrong == "half of the root left out" else 2)
        if wrong in {"without the variance", "without mean and variance"}:
            dvar = 0
        dc = dz / std + dvar * 2 * (u - mu) / N
        if wrong == "half of the variance":
            dc = dz / std + dvar * (u - mu) / N
        if wrong == "batch mean of the variance left out":
            dc = dz / std + dvar * 2 * (u - mu)
        dmu = dc.sum(0)
        if wrong in {"without the mean", "without mean and variance"}:
            dmu = 0
        if wrong == "mean positive":
            dmu = -dmu
        if wrong == "batch mean left out":
            dmu = dmu * N
        du = dc - dmu / N
        if wrong == "dstd's n - 1 alone":
            du = dc - dmu / N + dvar * 2 * (u - mu) * (1 / (N - 1) - 1 / N)
        return {"gain": dgain, "shift": dout.sum(0), "W": x.T @ du, "x": du @ W.T}

    def fused(self, x, W, gain, shift, dout):
        u = x @ W
        y = F.batch_norm(u, None, None, gain, shift, training=True, eps=1e-3)
        return (y * dout).sum()

    def written(self, x, W, gain, shift, dout):
        u = x @ W
        mu = u.mean(0)
        var = ((u - mu) ** 2).mean(0)
        z = (u - mu) / torch.sqrt(var + 1e-3)
        y = z * gain + shift
        return (y * dout).sum()


class Var:
    """Batch normalisation by means of `var`, the inverse deviation kept."""

    def inputs(self, rng):
        return {"x": rng.standard_normal((7, 4)), "gain": rng.standard_normal(4), "dout": rng.standard_normal((7, 4))}

    def manual(self, wrong, x, gain, dout):
        N = len(x)
        c = x - x.mean(0)
        less = 0 if wrong == "n for n - 1" else 1
        inverse = (x.var(0, ddof=less) + (0 if wrong == "epsilon left out" else 1e-2)) ** -0.5
        dz = dout * gain
        dinverse = (dz * c).sum(0)
        power = {"wrong exponent": 1, "square of the inverse": 2}.get(wrong, 3)
        dvar = -0.5 * inverse**power * dinverse
        if wrong == "without the variance":
            dvar = 0
        if wrong == "minus one half left out":
            dvar = inverse**3 * dinverse
        dc = dz * inverse + 2 * c * dvar / (N - 1 if less else N)
        if wrong == "n - 1 in the forward pass alone":
            dc = dz * inverse + 2 * c * dvar / N
        dx = dc if wrong == "without the mean" else dc - dc.mean(0)
        return {"x": dx, "gain": (dout * c * inverse).sum(0)}

    def fused(self, x, gain, dout):
        inverse = torch.rsqrt(x.var(0) + 1e-2)
        z = (x - x.mean(0)) * inverse
        return (z * gain * dout).sum()

    def written(self, x, gain, dout):
        mean = x.mean(dim=0, keepdim=True)
        variance = torch.var(x, dim=0, keepdim=True, unbiased=True)
        inverse = (variance + 1e-2) ** -0.5
        z = (x - mean) * inverse
        return torch.sum(z * gain * dout)


class LayerNorm:
    """Over the last axis of (B, T, D)."""

    def inputs(self, rng):
        return {
            "x": rng.standard_normal((2, 3, 6)),
            "gain": 1 + 0.3 * rng.standard_normal(6),
            "shift": rng.standard_normal(6),
            "dout": rng.standard_normal((2, 3, 6)),
        }

    def manual(self, wrong, x, gain, shift, dout):
        axis = 1 if wrong == "over time" else -1
        eps = 0 if wrong == "epsilon left out" else 1e-5
        c = x - x.mean(axis, keepdims=True)
        inverse = 1 / np.sqrt(x.var(axis, keepdims=True, ddof=1 if wrong == "n - 1" else 0) + eps)
        z = c * inverse
        dz = dout if wrong == "gain left out" else dout * gain
        dx = dz.copy()
        if wrong not in {"without the mean", "without mean and variance"}:
            dx -= dz.mean(axis, keepdims=True)
        if wrong == "variance counted twice":
            dx -= z * (dz * z).mean(axis, keepdims=True)
        if wrong not in {"without the variance", "without mean and variance"}:
            dx -= z * (dz * z).mean(axis, keepdims=True)
        if wrong != "inverse deviation left out":
            dx = dx * inverse
        if wrong == "deviation for its inverse":
            dx = dx / inverse**2
        dgain = (dout * (x if wrong == "x in the gain's gradient" else z)).sum((0, 1))
        return {"gain": dgain, "shift": dout.sum((0, 1)), "x": dx}

    def fused(self, x, gain, shift, dout):
        y = F.layer_norm(x, (6,), gain, shift)
        return (y * dout).sum()

    def written(self, x, gain, shift, dout):
        mean = x.mean(-1, keepdim=True)
        var = x.var(-1, keepdim=True, unbiased=False)
        z = (x - mean) / torch.sqrt(var + 1e-5)
        return ((z * gain + shift) * dout).sum()


class RMSNorm:
    """Divided by the root of the mean square."""

    def inputs(self, rng):
        return {
            "x": rng.standard_normal((5, 6)),
            "gain": 1 + 0.3 * rng.standard_normal(6),
            "dout": rng.standard_normal((5, 6)),
        }

    def manual(self, wrong, x, gain, dout):
        eps = 0 if wrong == "epsilon left out" else 1e-3
        square = (x * x).sum(-1, keepdims=True) if wrong == "sum for mean" else (x * x).mean(-1, keepdims=True)
        r = np.sqrt(square + eps)
        z = x / r
        dz = dout * gain
        dx = (dz - z * (dz * z).mean(-1, keepdims=True)) / r
        if wrong == "sum for mean":
            dx = (dz - z * (dz * z).sum(-1, keepdims=True)) / r
        if wrong == "without the root mean square":
            dx = dz / r
        if wrong == "mean of dz taken away":
            dx = (dz - dz.mean(-1, keepdims=True) - z * (dz * z).mean(-1, keepdims=True)) / r
        if wrong == "sum in the second term":
            dx = (dz - z * (dz * z).sum(-1, keepdims=True)) / r
        if wrong == "plus for minus":
            dx = (dz + z * (dz * z).mean(-1, keepdims=True)) / r
        return {"gain": (dout * z).sum(0), "x": dx}

    def fused(self, x, gain, dout):
        y = F.rms_norm(x, (6,), gain, eps=1e-3)
        return (y * dout).sum()

    def written(self, x, gain, dout):
        ms = x.pow(2).mean(-1, keepdim=True)
        y = x * torch.rsqrt(ms + 1e-3) * gain
        return (y * dout).sum()


BN, LN, RMS = r"batch_norm in line \d+, y =", r"layer_norm in line \d+, y =", r"rms_norm in line \d+, y ="
D, P, E = "derivative", "path", "derivative|path"

MISTAKES = (
    Mistake(BatchNorm, "without the mean", E, BN + r".*mean", r"mean in line"),
    Mistake(BatchNorm, "without the variance", E, BN + r".*varian", r"line \d+, (var|z) ="),
    Mistake(BatchNorm, "without mean and variance", E, r"line \d+, (y|u) =", r"line \d+, (mu|var|z|u) ="),
    Mistake(BatchNorm, "n - 1", E, BN + r".*n - 1", r"mean in line \d+, var = .*n - 1"),
    Mistake(BatchNorm, "epsilon left out", E, BN + r".*eps", r"add in line \d+, z ="),
    Mistake(BatchNorm, "epsilon outside the root", E, BN + r".*eps", r"(add|sqrt) in line \d+, z ="),
    Mistake(BatchNorm, "mean over the features", E, BN + r".*mean", r"line \d+, (mu|z) =.*axis 1"),
    Mistake(BatchNorm, "mean not subtracted", E, BN, r"line \d+, z ="),
    Mistake(BatchNorm, "variance for deviation", E, BN, r"line \d+, (y|z) ="),
    Mistake(BatchNorm, "gain left out", E, BN, r"mul in line \d+, y ="),
    Mistake(BatchNorm, "input in the gain's gradient", D, BN, r"mul in line \d+, y ="),
    Mistake(BatchNorm, "centred input in the gain's gradient", D, BN, r"mul in line \d+, y ="),
    Mistake(BatchNorm, "variance positive", E, BN, r"line \d+, (z|var) ="),
    Mistake(BatchNorm, "exponent of the deviation", E, BN, r"(div|sqrt) in line \d+, z ="),
    Mistake(BatchNorm, "half of the root left out", E, BN, r"line \d+, (z|var) ="),
    Mistake(BatchNorm, "half of the variance", E, BN, r"line \d+, (z|var) ="),
    Mistake(BatchNorm, "batch mean of the variance left out", E, BN, r"mean in line \d+, var ="),
    Mistake(BatchNorm, "mean positive", E, BN, r"line \d+, (mu|z) ="),
    Mistake(BatchNorm, "batch mean left out", E, BN, r"line \d+, (mu|z) ="),
    Mistake(Var, "n for n - 1", E, r"var in line", r"var in line"),
    Mistake(Var, "epsilon left out", E, r"line \d+, inverse =", r"line \d+, inverse ="),
    Mistake(Var, "wrong exponent", E, r"line \d+, inverse =", r"line \d+, inverse ="),
    Mistake(Var, "square of the inverse", E, r"rsqrt in line", r"pow in line"),
    Mistake(Var, "without the variance", E, r"var in line|rsqrt in line", r"var in line|pow in line|line \d+, inverse"),
    Mistake(Var, "minus one half left out", E, r"line \d+, inverse =", r"line \d+, (inverse|variance) ="),
    Mistake(Var, "n - 1 in the forward pass alone", E, r"line \d+, inverse =", r"line \d+, (inverse|variance) ="),
    Mistake(Var, "without the mean", E, r"mean in line", r"mean in line"),
    Mistake(LayerNorm, "without the mean", E, LN + ".*mean", r"mean in line"),
    Mistake(LayerNorm, "without the variance", E, LN + ".*varian", r"var in line|sqrt in line|line \d+, z ="),
    Mistake(LayerNorm, "without mean and variance", E, LN, r"line \d+, (mean|var|z) ="),
    Mistake(LayerNorm, "variance counted twice", E, LN, r"line \d+, (var|z) ="),
    Mistake(LayerNorm, "over time", E, LN, ""),
    Mistake(LayerNorm, "n - 1", E, LN + ".*n - 1", r"var in line .*n - 1"),
    Mistake(LayerNorm, "epsilon left out", E, LN + ".*eps", r"add in line \d+, z ="),
    Mistake(LayerNorm, "gain left out", E, LN, r"mul in line"),
    Mistake(LayerNorm, "inverse deviation left out", E, LN, r"div in line \d+, z ="),
    Mistake(LayerNorm, "deviation for its inverse", E, LN, r"div in line \d+, z ="),
    Mistake(LayerNorm, "x in the gain's gradient", D, LN, r"mul in line"),
    Mistake(RMSNorm, "without the root mean square", E, RMS, r"line \d+, (ms|y) ="),
    Mistake(RMSNorm, "epsilon left out", E, RMS, r"add in line \d+, y ="),
    Mistake(RMSNorm, "sum for mean", E, RMS + ".*mean", r"mean in line"),
    Mistake(RMSNorm, "sum in the second term", E, RMS, r"line \d+, (ms|y) ="),
    Mistake(RMSNorm, "plus for minus", E, RMS, r"line \d+, (ms|y) ="),
)
