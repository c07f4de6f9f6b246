"""Activations, normalisation, attention and recurrence where the reference is written by hand, in other styles: one-hot sums, gathers, einsum, loops."""

import numpy as np
import torch
import torch.nn.functional as F

from wrong_derivations.mistake import Mistake, sigmoid, softmax, softmax_backward


class Activations:
    """tanh, sigmoid, softplus and silu, each written out by hand."""

    def inputs(self, rng):
        return {
            "x": rng.standard_normal((6, 4)),
            "W": rng.standard_normal((4, 4)),
            "V": rng.standard_normal((4, 4)),
            "dout": rng.standard_normal((6, 4)),
        }

    def manual(self, wrong, x, W, V, dout):
        a = x @ W
        t = np.tanh(a)
        b = t @ V
        g = sigmoid(b)
        dg = {
            "sigmoid's derivative left out": np.ones_like(g),
            "sigmoid for its derivative": g,
            "1 - sigmoid": 1 - g,
            "input in sigmoid's form": b * (1 - b),
        }.get(wrong, g * (1 - g))
        db = dout * dg
        slope = {
            "tanh's derivative left out": np.ones_like(t),
            "1 - tanh": 1 - t,
            "tanh^2": t**2,
            "1 - x^2": 1 - a**2,
            "tanh twice": 1 - np.tanh(t) ** 2,
            "tanh's derivative twice": (1 - t**2) ** 2,
        }.get(wrong, 1 - t**2)
        da = db @ V.T * slope
        return {"V": t.T @ db, "W": x.T @ da, "x": da @ W.T}

    def written(self, x, W, V, dout):
        a = x @ W
        up, down = torch.exp(a), torch.exp(-a)
        t = (up - down) / (up + down)
        g = 1 / (1 + torch.exp(-(t @ V)))
        return (g * dout).sum()


class LayerNormByHand:
    """Statistics by hand, the derivative in its short form."""

    def inputs(self, rng):
        return {
            "x": rng.standard_normal((5, 6)),
            "gain": 1 + 0.3 * rng.standard_normal(6),
            "dout": rng.standard_normal((5, 6)),
        }

    def manual(self, wrong, x, gain, dout):
        axis = 1
        a = 1 / np.sqrt(x.var(axis, keepdims=True) + 1e-5)
        z = (x - x.mean(axis, keepdims=True)) * a
        g = dout * gain
        if wrong == "means over the batch":
            axis = 0
        m, c = g.mean(axis, keepdims=True), (g * z).mean(axis, keepdims=True)
        dx = {
            "sums for means": a * (g - 6 * m - z * 6 * c),
            "sum in the last term": a * (g - m - z * 6 * c),
            "last term not times z": a * (g - m - c),
            "last term of the centred input": a * (g - m - z / a * c),
            "last term positive": a * (g - m + z * c),
            "both means positive": a * (g + m + z * c),
            "mean of g twice": a * (g - m - z * m),
            "inverse deviation of the first term alone": a * g - m - z * c,
            "inverse deviation left out": g - m - z * c,
            "without the mean": a * (g - z * c),
            "without the variance": a * (g - m),
            "without mean and variance": a * g,
        }.get(wrong, a * (g - m - z * c))
        return {"gain": (dout * z).sum(0), "x": dx}

    def written(self, x, gain, dout):
        mean = x.sum(-1, keepdim=True) / 6
        centred = x - mean
        variance = (centred**2).sum(-1, keepdim=True) / 6
        z = centred * (variance + 1e-5) ** -0.5
        return (z * gain * dout).sum()

    def fused(self, x, gain, dout):
        variance, mean = torch.var_mean(x, dim=-1, unbiased=False, keepdim=True)
        z = (x - mean) * torch.rsqrt(variance + 1e-5)
        return torch.einsum("nd,d,nd->", z, gain, dout)


class EinsumAttention:
    """Attention by einsum, without a mask; T = D."""

    def inputs(self, rng):
        return {name: rng.standard_normal((2, 4, 4)) for name in ("q", "k", "v", "dout")}

    def manual(self, wrong, q, k, v, dout):
        p = softmax(q @ k.transpose(0, 2, 1) / 2)
        dv = (p if wrong == "probabilities not transposed" else p.transpose(0, 2, 1)) @ dout
        dp = dout @ (v if wrong == "value not transposed" else v.transpose(0, 2, 1))
        ds = softmax_backward(p, dp)
        if wrong == "p (1 - p)":
            ds = p * (1 - p) * dp
        if wrong == "row sum left out":
            ds = p * dp
        if wrong == "softmax left out":
            ds = dp
        if wrong == "sum over the wrong axis":
            ds = p * (dp - (dp * p).sum(-2, keepdims=True))
        ds = ds / 2
        dk = (ds if wrong == "scores not transposed in dk" else ds.transpose(0, 2, 1)) @ q
        dq = ds @ (q if wrong == "query for key" else k)
        return {"v": dv, "q": dq, "k": dk}

    def fused(self, q, k, v, dout):
        scores = torch.einsum("bid,bjd->bij", q, k) / 2
        p = scores.softmax(-1)
        out = torch.einsum("bij,bjd->bid", p, v)
        return (out * dout).sum()

    def written(self, q, k, v, dout):
        scores = torch.bmm(q, k.mT) * 0.5
        powers = torch.exp(scores - scores.amax(-1, keepdim=True))
        p = powers / powers.sum(-1, keepdim=True)
        out = torch.bmm(p, v)
        return (out * dout).sum()


class LastState:
    """A recurrence with one loss at its end, and one with ReLU."""

    def inputs(self, rng):
        return {
            "x": rng.standard_normal((4, 5, 3)),
            "Wx": rng.standard_normal((3, 4)) / 2,
            "Wh": rng.standard_normal((4, 4)) / 2,
            "b": 0.2 * rng.standard_normal(4),
            "V": rng.standard_normal((4, 2)),
            "target": rng.standard_normal((5, 2)),
        }

    def manual(self, wrong, x, Wx, Wh, b, V, target):
        h = [np.zeros((5, 4))]
        for step in x:
            h.append(np.tanh(step @ Wx + h[-1] @ Wh + b))
        d = 2 * (h[-1] @ V - target) / target.size
        dWx, dWh, db, dh = np.zeros_like(Wx), np.zeros_like(Wh), np.zeros_like(b), d @ V.T
        for t in reversed(range(4)):
            slope = {
                "derivative left out": 1,
                "derivative of the state before": 1 - h[t] ** 2,
                "1 - h": 1 - h[t + 1],
                "tanh for its derivative": h[t + 1],
            }.get(wrong, 1 - h[t + 1] ** 2)
            ds = dh * slope
            dWx += x[t].T @ ds
            dWh += (h[t + 1] if wrong == "state of the same step" else h[t]).T @ ds
            db += ds.sum(0)
            dh = ds @ (Wh if wrong == "weight not transposed" else Wh.T)
            if wrong == "only the last step":
                dh = 0 * dh
        return {"V": h[-1].T @ d, "Wx": dWx, "Wh": dWh, "b": db}

    def written(self, x, Wx, Wh, b, V, target):
        h = torch.zeros(5, 4, dtype=x.dtype)
        for t in range(4):
            h = torch.tanh(x[t] @ Wx + h @ Wh + b)
        return ((h @ V - target) ** 2).mean()

    def fused(self, x, Wx, Wh, b, V, target):
        h = x.new_zeros((5, 4))
        for step in x.unbind(0):
            h = (F.linear(step, Wx.t()) + torch.matmul(h, Wh) + b).tanh()
        return F.mse_loss(h @ V, target)


D, E = "derivative", "derivative|path"
TANH, SIGMOID = r"(tanh|div|add|sub) in line \d+, t =", r"(sigmoid|reciprocal|div|exp) in line \d+, g ="
NORM = r"line \d+, (mean|centred|variance|z|variance, mean) ="
SCORES, OUT = r"(einsum|bmm|matmul) in line \d+, scores", r"(einsum|bmm|matmul) in line \d+, out"
P_LINE = r"(softmax|sum) in line \d+, p ="
H = r"tanh in line \d+, h ="

MISTAKES = (
    *[
        Mistake(Activations, wrong, D, "", SIGMOID)
        for wrong in (
            "sigmoid's derivative left out",
            "sigmoid for its derivative",
            "1 - sigmoid",
            "input in sigmoid's form",
        )
    ],
    *[
        Mistake(Activations, wrong, D, "", TANH)
        for wrong in (
            "tanh's derivative left out",
            "1 - tanh",
            "tanh^2",
            "1 - x^2",
            "tanh twice",
            "tanh's derivative twice",
        )
    ],
    *[
        Mistake(LayerNormByHand, wrong, E, NORM, NORM)
        for wrong in (
            "means over the batch",
            "sums for means",
            "sum in the last term",
            "last term not times z",
            "last term of the centred input",
            "last term positive",
            "both means positive",
            "mean of g twice",
            "inverse deviation of the first term alone",
            "inverse deviation left out",
            "without the mean",
            "without the variance",
            "without mean and variance",
        )
    ],
    Mistake(EinsumAttention, "probabilities not transposed", D, OUT, OUT),
    Mistake(EinsumAttention, "value not transposed", D, OUT, OUT),
    *[
        Mistake(EinsumAttention, wrong, D, P_LINE, P_LINE)
        for wrong in ("p (1 - p)", "row sum left out", "softmax left out", "sum over the wrong axis")
    ],
    Mistake(EinsumAttention, "scores not transposed in dk", D, SCORES, SCORES),
    Mistake(EinsumAttention, "query for key", D, SCORES, SCORES),
    *[
        Mistake(LastState, wrong, D, H, H)
        for wrong in ("derivative left out", "derivative of the state before", "1 - h", "tanh for its derivative")
    ],
    *[
        Mistake(
            LastState, wrong, E, r"(linear|matmul|tanh|add) in line \d+, h =", r"(matmul|tanh|add) in line \d+, h ="
        )
        for wrong in ("state of the same step", "weight not transposed", "only the last step")
    ],
)
