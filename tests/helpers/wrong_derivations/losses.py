"""Losses."""

import numpy as np
import torch
import torch.nn.functional as F

from wrong_derivations.mistake import Mistake, sigmoid, softmax


class Logistic:
    """Logistic regression with binary cross-entropy."""

    def inputs(self, rng):
        return {
            "x": rng.standard_normal((9, 4)),
            "w": rng.standard_normal(4),
            "b": np.array(0.3),
            "t": rng.integers(0, 2, 9).astype(float),
        }

    def manual(self, wrong, x, w, b, t):
        s = x @ w + b
        p = sigmoid(s)
        d = (p - t) / len(x)
        if wrong == "sigmoid's derivative on top":
            d = d * p * (1 - p)
        if wrong == "sigmoid's derivative left out":
            d = d / (p * (1 - p))
        if wrong == "only positive examples":
            d = t * (p - 1) / len(x)
        if wrong == "sign of the second term":
            d = (t * (p - 1) - (1 - t) * p) / len(x)
        if wrong == "sigmoid twice":
            d = (sigmoid(p) - t) / len(x)
        if wrong == "logits for probabilities":
            d = (s - t) / len(x)
        return {"w": x.T @ d, "b": d.sum(), "x": np.outer(d, w)}

    def fused(self, x, w, b, t):
        logits = x @ w + b
        return F.binary_cross_entropy_with_logits(logits, t)

    def written(self, x, w, b, t):
        p = torch.sigmoid(x @ w + b)
        return -(t * torch.log(p) + (1 - t) * torch.log(1 - p)).mean()


class Hinge:
    """Multi-class hinge loss with an L2 penalty."""

    def inputs(self, rng):
        return {
            "x": rng.standard_normal((8, 5)),
            "W": rng.standard_normal((5, 4)),
            "labels": rng.integers(0, 4, 8),
        }

    def manual(self, wrong, x, W, labels):
        N = len(x)
        rows = np.arange(N)
        s = x @ W
        margins = s - s[rows, labels][:, None] + 1
        margins[rows, labels] = 0
        violated = (margins > 0).astype(float)
        if wrong == "mask left out":
            violated = np.ones_like(s)
            violated[rows, labels] = 0
        if wrong == "margins for their mask":
            violated = np.maximum(margins, 0)
        if wrong == "negative scores for margins":
            violated = (s < 0).astype(float)
            violated[rows, labels] = 0
        d = violated.copy()
        counts = violated.sum(1)
        if wrong == "one for the count":
            counts = (counts > 0).astype(float)
        if wrong != "right class left out":
            d[rows, labels] = -counts
        penalty = {"penalty halved": 1.0, "penalty left out": 0.0}.get(wrong, 2.0)
        both = d / (1 if wrong == "mean left out of the data term" else N)
        return {
            "W": x.T @ both + penalty * 0.1 * W,
            "x": d @ W.T / (1 if wrong == "mean left out of the data term" else N),
        }

    def written(self, x, W, labels):
        scores = x @ W
        right = scores[torch.arange(8), labels].unsqueeze(1)
        margins = torch.relu(scores - right + 1)
        others = margins.masked_fill(F.one_hot(labels, 4).bool(), 0)
        loss = others.sum() / 8
        return loss + 0.1 * (W * W).sum()


class Robust:
    """Huber loss of a tanh."""

    def inputs(self, rng):
        return {
            "x": rng.standard_normal((7, 3)),
            "W": rng.standard_normal((3, 4)),
            "t": 2 * rng.standard_normal((7, 4)),
        }

    def manual(self, wrong, x, W, t):
        h = np.tanh(x @ W)
        r = h - t
        d = np.where(np.abs(r) <= 1, r, np.sign(r))
        if wrong == "squared error everywhere":
            d = r
        if wrong == "absolute error everywhere":
            d = np.sign(r)
        if wrong == "residual twice":
            d = d * r
        ds = d / r.size * (1 if wrong == "tanh left out" else 1 - h * h)
        return {"W": x.T @ ds, "x": ds @ W.T}

    def fused(self, x, W, t):
        h = torch.tanh(x @ W)
        return F.huber_loss(h, t)


class Distillation:
    """Cross-entropy against soft targets at a temperature, plus the ordinary one with smoothed labels."""

    def inputs(self, rng):
        return {
            "x": rng.standard_normal((6, 3)),
            "W": rng.standard_normal((3, 5)),
            "soft": rng.dirichlet(np.ones(5), 6),
            "labels": rng.integers(0, 5, 6),
        }

    def manual(self, wrong, x, W, soft, labels):
        s = x @ W
        y = np.eye(5)[labels]
        smooth = y if wrong == "smoothing left out" else 0.9 * y + 0.02
        one = (softmax(s) - smooth) / 6
        p = softmax(s if wrong == "temperature left out of softmax" else s / 2)
        two = (p - soft) / 6 / 2
        if wrong == "temperature's derivative left out":
            two = 2 * two
        if wrong == "soft loss left out":
            two = 0
        if wrong == "hard loss left out":
            one = 0
        if wrong == "soft loss twice":
            two = 2 * two
        d = one + two
        return {"W": x.T @ d, "x": d @ W.T}

    def fused(self, x, W, soft, labels):
        logits = x @ W
        hard = F.cross_entropy(logits, labels, label_smoothing=0.1)
        logp = F.log_softmax(logits / 2, dim=1)
        return hard - (soft * logp).sum() / 6


class Cosine:
    """Vectors of length one, compared by their product."""

    def inputs(self, rng):
        return {"x": rng.standard_normal((5, 4)), "W": rng.standard_normal((4, 6)), "y": rng.standard_normal((5, 6))}

    def manual(self, wrong, x, W, y):
        u = x @ W
        n = np.sqrt((u * u).sum(1, keepdims=True))
        z = u / n
        du = (y - z * (y * z).sum(1, keepdims=True)) / n
        if wrong == "norm taken for a constant":
            du = y / n
        if wrong == "norm left out":
            du = y - z * (y * z).sum(1, keepdims=True)
        if wrong == "plus":
            du = (y + z * (y * z).sum(1, keepdims=True)) / n
        if wrong == "square of the norm":
            du = (y - z * (y * z).sum(1, keepdims=True)) / n**2
        return {"W": x.T @ du, "x": du @ W.T}

    def fused(self, x, W, y):
        z = F.normalize(x @ W, dim=1)
        return (z * y).sum()

    def written(self, x, W, y):
        u = x @ W
        n = u.norm(dim=1, keepdim=True)
        z = u / n
        return (z * y).sum()


D, P, E = "derivative", "path", "derivative|path"
BCE, PS = r"binary_cross_entropy_with_logits in line", r"sigmoid in line \d+, p ="
TWO = r"line \d+, (logp|return hard)"

MISTAKES = (
    Mistake(Logistic, "sigmoid's derivative on top", D, BCE, PS),
    Mistake(Logistic, "sigmoid's derivative left out", D, BCE, PS),
    Mistake(Logistic, "only positive examples", E, BCE, r"line \d+, return -"),
    Mistake(Logistic, "sign of the second term", E, BCE, r"line \d+, return -"),
    Mistake(Logistic, "sigmoid twice", D, BCE, PS),
    Mistake(Logistic, "logits for probabilities", D, BCE, ""),
    Mistake(Hinge, "mask left out", D, "", r"relu in line \d+, margins"),
    Mistake(Hinge, "margins for their mask", D, "", r"relu in line \d+, margins"),
    Mistake(Hinge, "negative scores for margins", D, "", r"relu in line \d+, margins"),
    Mistake(Hinge, "right class left out", P, "", r"line \d+, (margins|right) ="),
    Mistake(Hinge, "penalty halved", P, "", r"line \d+, return loss"),
    Mistake(Hinge, "mean left out of the data term", E, "", r"line \d+, loss ="),
    Mistake(Robust, "squared error everywhere", D, r"huber_loss in line"),
    Mistake(Robust, "absolute error everywhere", D, r"huber_loss in line"),
    Mistake(Robust, "tanh left out", D, r"tanh in line"),
    Mistake(Distillation, "smoothing left out", E, r"cross_entropy in line"),
    Mistake(Distillation, "temperature left out of softmax", E, TWO),
    Mistake(Distillation, "temperature's derivative left out", E, TWO),
    Mistake(Distillation, "soft loss left out", P, TWO),
    Mistake(Distillation, "hard loss left out", P, r"line \d+, (hard|return hard)"),
    Mistake(Cosine, "norm taken for a constant", E, r"normalize in line", r"norm in line|line \d+, z ="),
    Mistake(Cosine, "norm left out", E, r"normalize in line", r"div in line"),
    Mistake(Cosine, "plus", E, r"normalize in line", r"line \d+, (n|z) ="),
    Mistake(Cosine, "square of the norm", E, r"normalize in line", r"(div|normalize) in line \d+, z ="),
)
