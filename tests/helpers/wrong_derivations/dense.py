"""Softmax regression and networks of two layers."""

import numpy as np
import torch
import torch.nn.functional as F

from wrong_derivations.mistake import Mistake, softmax, softmax_backward


class Softmax:
    """Softmax regression with mean cross-entropy of labels."""

    def inputs(self, rng):
        return {
            "x": rng.standard_normal((12, 6)),
            "W": 0.7 * rng.standard_normal((6, 4)),
            "b": 0.3 * rng.standard_normal(4),
            "labels": rng.integers(0, 4, 12),
        }

    def manual(self, wrong, x, W, b, labels):
        N = len(x)
        s = x @ W + b
        y = np.eye(4)[labels]
        p = softmax(s, axis=0 if wrong == "softmax along the batch" else 1)
        if wrong == "softmax twice":
            p = softmax(p)
        d = (p - y) / N
        if wrong == "p (1 - p) for the Jacobian":
            d = -y / p / N * p * (1 - p)
        if wrong == "softmax derivative on top":
            d = softmax_backward(p, d)
        if wrong == "p (1 - p) on top":
            d = d * p * (1 - p)
        if wrong == "softmax derivative left out":
            d = -y / p / N
        if wrong == "logits for probabilities":
            d = (s - y) / N
        if wrong == "normalisation left out":
            d = (np.exp(s) - y) / N
        if wrong == "only the right class":
            d = (p - 1) * y / N
        if wrong == "label not subtracted":
            d = p / N
        if wrong == "bias not in the logits":
            d = (softmax(x @ W) - y) / N
        if wrong == "1 / p left out":
            d = softmax_backward(p, -y / N)
        if wrong == "softmax applied twice, derived right":
            d = softmax_backward(softmax(s), (softmax(softmax(s)) - y) / N)
        return {"W": x.T @ d, "b": d.sum(axis=0), "x": d @ W.T}

    def fused(self, x, W, b, labels):
        logits = x @ W + b
        return F.cross_entropy(logits, labels)

    def written(self, x, W, b, labels):
        logits = x @ W + b
        p = torch.softmax(logits, dim=1)
        right = p[torch.arange(len(x)), labels]
        return -torch.log(right).mean()


class TwoLayers:
    """ReLU between two linear layers."""

    def inputs(self, rng):
        return {
            "x": rng.standard_normal((10, 6)),
            "W1": rng.standard_normal((6, 7)) / 2,
            "b1": 0.5 * rng.standard_normal(7),
            "W2": rng.standard_normal((7, 7)) / 2,
            "b2": 0.3 * rng.standard_normal(7),
            "labels": rng.integers(0, 7, 10),
        }

    def manual(self, wrong, x, W1, b1, W2, b2, labels):
        N = len(x)
        a = x @ W1
        s = a + b1
        h = np.maximum(s, 0)
        p = softmax(h @ W2 + b2)
        d = (p - np.eye(7)[labels]) / N
        if wrong == "mask and 1/N forgotten":
            d = d * N
        dW2 = h.T @ d
        if wrong == "pre-activation in dW2":
            dW2 = s.T @ d
        W = W2
        if wrong == "updated weight":
            W = W2 - 0.5 * dW2
        if wrong == "square weight not transposed":
            W = W2.T
        if wrong == "absolute weight":
            W = np.abs(W2)
        dh = d @ W.T
        mask = s > 0
        if wrong == "mask of the upstream gradient":
            mask = dh > 0
        if wrong == "mask without the bias":
            mask = a > 0
        if wrong == "mask reversed":
            mask = s < 0
        if wrong == "leaky mask":
            mask = np.where(s > 0, 1, 0.01)
        if wrong == "sigmoid's derivative":
            mask = 1 / (1 + np.exp(-s)) * (1 - 1 / (1 + np.exp(-s)))
        ds = dh * mask
        if wrong in {"mask forgotten", "mask and 1/N forgotten"}:
            ds = dh
        if wrong == "mask forgotten and twice as large":
            ds = 2 * dh
        if wrong == "mask forgotten and negative":
            ds = -dh
        if wrong == "relu for its mask":
            ds = dh * h
        if wrong == "input for the mask":
            ds = dh * s
        if wrong == "relu of the upstream gradient":
            ds = np.maximum(dh, 0)
        dx = ds @ W1.T
        if wrong == "weight gradient from h":
            return {"W2": dW2, "b2": d.sum(0), "W1": x.T @ dh, "b1": ds.sum(0)}
        if wrong == "bias gradient before the mask":
            return {"W2": dW2, "b2": d.sum(0), "W1": x.T @ ds, "b1": dh.sum(0)}
        if wrong == "inputs doubled in dW1":
            return {"W2": dW2, "b2": d.sum(0), "W1": (x * x).T @ ds, "b1": ds.sum(0)}
        return {"W2": dW2, "b2": d.sum(0), "W1": x.T @ ds, "b1": ds.sum(0), "x": dx}

    def fused(self, x, W1, b1, W2, b2, labels):
        h = torch.relu(x @ W1 + b1)
        logits = h @ W2 + b2
        return F.cross_entropy(logits, labels)

    def written(self, x, W1, b1, W2, b2, labels):
        s = F.linear(x, W1.T, b1)
        h = s.clamp(min=0)
        logits = torch.addmm(b2, h, W2)
        logp = logits - torch.logsumexp(logits, dim=1, keepdim=True)
        return -logp[range(len(x)), labels].mean()


class Tanh:
    """A tanh layer and a squared error."""

    def inputs(self, rng):
        return {
            "x": rng.standard_normal((9, 5)),
            "W": rng.standard_normal((5, 6)) / 2,
            "v": rng.standard_normal((6, 3)),
            "target": rng.standard_normal((9, 3)),
        }

    def manual(self, wrong, x, W, v, target):
        s = x @ W
        h = np.tanh(s)
        out = h @ v
        d = 2 * (out - target) / out.size
        if wrong == "error not subtracted from":
            d = 2 * out / out.size
        if wrong == "sign of the error":
            d = np.sign(out - target) / out.size
        dh = d @ v.T
        slope = 1 - h**2
        slope = {
            "1 - x^2": 1 - s**2,
            "1 - tanh": 1 - h,
            "tanh^2": h**2,
            "tanh twice": 1 - np.tanh(h) ** 2,
            "sigmoid's form": h * (1 - h),
            "derivative twice": (1 - h**2) ** 2,
            "derivative forgotten": np.ones_like(h),
            "tanh for its derivative": h,
        }.get(wrong, slope)
        return {"v": h.T @ d, "W": x.T @ (dh * slope), "x": (dh * slope) @ W.T}

    def fused(self, x, W, v, target):
        h = torch.tanh(x @ W)
        out = h @ v
        return F.mse_loss(out, target)

    def written(self, x, W, v, target):
        h = torch.tanh(x @ W)
        out = h @ v
        return ((out - target) ** 2).mean()


CE = r"cross_entropy in line \d+, return F\.cross_entropy"
SOFTMAX = r"softmax in line \d+, p = torch\.softmax"
RELU = r"relu in line \d+, h = torch\.relu"
CLAMP = r"clamp in line \d+, h = s\.clamp"
TANH = r"tanh in line \d+, h = torch\.tanh"
D, P = "derivative", "path"

MISTAKES = (
    Mistake(Softmax, "softmax along the batch", D, CE, SOFTMAX),
    Mistake(Softmax, "softmax twice", D, CE, SOFTMAX),
    Mistake(Softmax, "softmax applied twice, derived right", D, CE, ""),
    Mistake(Softmax, "p (1 - p) for the Jacobian", D, CE, SOFTMAX),
    Mistake(Softmax, "softmax derivative on top", D, CE, SOFTMAX),
    Mistake(Softmax, "p (1 - p) on top", D, CE, SOFTMAX),
    Mistake(Softmax, "softmax derivative left out", D, "", SOFTMAX),
    Mistake(Softmax, "logits for probabilities", D, CE, ""),
    Mistake(Softmax, "normalisation left out", D, CE, ""),
    Mistake(Softmax, "only the right class", D, CE, ""),
    Mistake(Softmax, "label not subtracted", D, CE, ""),
    Mistake(Softmax, "bias not in the logits", D, r"matmul in line \d+", r"line \d+, logits = "),
    Mistake(Softmax, "1 / p left out", D, "", r"log in line \d+, return -torch\.log"),
    Mistake(TwoLayers, "mask forgotten", D, RELU, CLAMP),
    Mistake(TwoLayers, "mask of the upstream gradient", D, RELU, CLAMP),
    Mistake(TwoLayers, "mask without the bias", D, RELU, CLAMP),
    Mistake(TwoLayers, "mask reversed", D, RELU, CLAMP),
    Mistake(TwoLayers, "leaky mask", D, RELU, CLAMP),
    Mistake(TwoLayers, "sigmoid's derivative", D, RELU, CLAMP),
    Mistake(TwoLayers, "relu for its mask", D, RELU, CLAMP),
    Mistake(TwoLayers, "input for the mask", D, RELU, CLAMP),
    Mistake(TwoLayers, "relu of the upstream gradient", D, RELU, CLAMP),
    Mistake(TwoLayers, "mask forgotten and twice as large", D, RELU, CLAMP),
    Mistake(TwoLayers, "mask forgotten and negative", D, RELU, CLAMP),
    Mistake(TwoLayers, "mask and 1/N forgotten", D, RELU, CLAMP),
    Mistake(
        TwoLayers, "pre-activation in dW2", D, r"matmul in line \d+, logits = h @ W2", r"addmm in line \d+, logits"
    ),
    Mistake(TwoLayers, "updated weight", D, r"matmul in line \d+, logits = h @ W2", r"addmm in line \d+, logits"),
    Mistake(TwoLayers, "square weight not transposed", D, r"matmul in line \d+, logits", r"addmm in line \d+, logits"),
    Mistake(TwoLayers, "absolute weight", D, r"matmul in line \d+, logits", r"addmm in line \d+, logits"),
    Mistake(TwoLayers, "weight gradient from h", D, r"line \d+, h = torch.relu.*relu", r"line \d+, s = .*clamp"),
    Mistake(TwoLayers, "bias gradient before the mask", D, r"line \d+, h = torch.relu.*relu", r"line \d+, s = .*clamp"),
    Mistake(TwoLayers, "inputs doubled in dW1", D, r"matmul in line \d+, h = torch\.relu", r"linear in line \d+, s = "),
    Mistake(Tanh, "error not subtracted from", D, r"mse_loss in line", r"line \d+, return \(\(out - target"),
    Mistake(Tanh, "sign of the error", D, r"mse_loss in line", r"pow in line \d+, return"),
    Mistake(Tanh, "1 - x^2", D, TANH, TANH),
    Mistake(Tanh, "1 - tanh", D, TANH, TANH),
    Mistake(Tanh, "tanh^2", D, TANH, TANH),
    Mistake(Tanh, "tanh twice", D, TANH, TANH),
    Mistake(Tanh, "sigmoid's form", D, TANH, TANH),
    Mistake(Tanh, "derivative twice", D, TANH, TANH),
    Mistake(Tanh, "derivative forgotten", D, TANH, TANH),
    Mistake(Tanh, "tanh for its derivative", D, TANH, TANH),
)
