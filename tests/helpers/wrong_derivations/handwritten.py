"""The same layers where the reference is written by hand, in other styles: one-hot sums, gathers, einsum, loops."""

import numpy as np
import torch
import torch.nn.functional as F

from wrong_derivations.mistake import Mistake, sigmoid, softmax, softmax_backward


class SoftmaxByHand:
    """Softmax regression of powers and their sums."""

    def inputs(self, rng):
        return {
            "x": rng.standard_normal((11, 5)),
            "W": 0.8 * rng.standard_normal((5, 4)),
            "b": 0.4 * rng.standard_normal(4),
            "labels": rng.integers(0, 4, 11),
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
        if wrong == "p (1 - p) on top":
            d = d * p * (1 - p)
        if wrong == "softmax derivative on top":
            d = softmax_backward(p, d)
        if wrong == "logits for probabilities":
            d = (s - y) / N
        if wrong == "only the right class":
            d = (p - 1) * y / N
        if wrong == "label not subtracted":
            d = p / N
        if wrong == "bias not in the logits":
            d = (softmax(x @ W) - y) / N
        return {"W": x.T @ d, "b": d.sum(axis=0), "x": d @ W.T}

    def written(self, x, W, b, labels):
        scores = x @ W + b
        shifted = scores - scores.max(dim=1, keepdim=True).values
        powers = torch.exp(shifted)
        p = powers / powers.sum(dim=1, keepdim=True)
        return -torch.log(p[torch.arange(11), labels]).mean()

    def fused(self, x, W, b, labels):
        scores = torch.einsum("nf,fk->nk", x, W) + b
        y = F.one_hot(labels, 4).to(x.dtype)
        logp = scores - torch.logsumexp(scores, dim=1, keepdim=True)
        return -(y * logp).sum(dim=1).mean(0)


class GatherNetwork:
    """Two layers; the loss is gathered from log-softmax, or taken apart into a logsumexp and the label's score."""

    def inputs(self, rng):
        return {
            "x": rng.standard_normal((9, 5)),
            "W1": rng.standard_normal((6, 5)) / 2,
            "b1": 0.5 * rng.standard_normal(6),
            "W2": rng.standard_normal((6, 6)) / 2,
            "labels": rng.integers(0, 6, 9),
        }

    def manual(self, wrong, x, W1, b1, W2, labels):
        s = x @ W1.T + b1
        h = np.maximum(s, 0)
        z = h @ W2.T
        p = softmax(z)
        if wrong == "softmax twice":
            p = softmax(p)
        d = (p - np.eye(6)[labels]) / 9
        if wrong == "logits for probabilities":
            d = (z - np.eye(6)[labels]) / 9
        if wrong == "powers for probabilities":
            d = (np.exp(z) - np.eye(6)[labels]) / 9
        dW2 = d.T @ (s if wrong == "pre-activation in dW2" else h)
        dh = d @ (W2.T if wrong == "square weight transposed" else W2)
        if wrong == "updated weight":
            dh = d @ (W2 - 0.3 * dW2)
        mask = {
            "mask forgotten": np.ones_like(s),
            "mask of the upstream gradient": dh > 0,
            "mask without the bias": x @ W1.T > 0,
            "relu for its mask": h,
            "mask reversed": s < 0,
        }.get(wrong, s > 0)
        ds = dh * mask
        return {"W2": dW2, "W1": ds.T @ x, "b1": ds.sum(0), "x": ds @ W1}

    def fused(self, x, W1, b1, W2, labels):
        h = F.relu(F.linear(x, W1, b1))
        logp = F.log_softmax(F.linear(h, W2), dim=-1)
        return -logp.gather(1, labels.unsqueeze(1)).mean()

    def written(self, x, W1, b1, W2, labels):
        s = x @ W1.T + b1
        h = torch.where(s > 0, s, torch.zeros_like(s))
        z = h @ W2.T
        losses = torch.logsumexp(z, 1) - z[torch.arange(9), labels]
        return losses.sum() / 9


class BinaryByHand:
    """Binary cross-entropy of probabilities, in three ways."""

    def inputs(self, rng):
        return {"x": rng.standard_normal((8, 3)), "W": rng.standard_normal((3, 2)), "t": rng.random((8, 2))}

    def manual(self, wrong, x, W, t):
        z = x @ W
        p = sigmoid(z)
        d = {
            "sigmoid's derivative on top": (p - t) * p * (1 - p),
            "logits for probabilities": z - t,
            "only the positive part": t * (p - 1),
            "only the negative part": (1 - t) * p,
            "second term negative": t * (p - 1) - (1 - t) * p,
            "target not subtracted": p,
            "sigmoid twice": sigmoid(p) - t,
            "sigmoid left out": (p - t) / (p * (1 - p)),
        }.get(wrong, p - t) / t.size
        return {"W": x.T @ d, "x": d @ W.T}

    def fused(self, x, W, t):
        return F.binary_cross_entropy(torch.sigmoid(x @ W), t)

    def written(self, x, W, t):
        z = x @ W
        losses = F.softplus(z) - t * z
        return losses.mean()


D, E = "derivative", "derivative|path"
SOFT = r"(softmax|cross_entropy|log_softmax|exp|div|sum|logsumexp|sub) in line \d+, (p|powers|logp|return|shifted)"
RELU = r"relu in line \d+, h ="
WHERE = r"(where|relu) in line \d+, h ="
LOSS = r"(cross_entropy|log_softmax|logsumexp|sub) in line \d+, (logp|losses|return)"
BINARY = r"line \d+, (return|losses|z)"

MISTAKES = (
    *[
        Mistake(SoftmaxByHand, wrong, D, SOFT, SOFT)
        for wrong in (
            "softmax along the batch",
            "softmax twice",
            "p (1 - p) for the Jacobian",
            "p (1 - p) on top",
            "softmax derivative on top",
            "logits for probabilities",
            "only the right class",
            "label not subtracted",
        )
    ],
    Mistake(
        SoftmaxByHand, "bias not in the logits", D, r"line \d+, (scores|logp)", r"line \d+, (scores|shifted|p|return)"
    ),
    *[
        Mistake(GatherNetwork, wrong, D, LOSS, LOSS)
        for wrong in ("softmax twice", "logits for probabilities", "powers for probabilities")
    ],
    *[
        Mistake(GatherNetwork, wrong, D, r"linear in line \d+, logp", r"matmul in line \d+, z")
        for wrong in ("pre-activation in dW2", "square weight transposed", "updated weight")
    ],
    *[
        Mistake(GatherNetwork, wrong, D, RELU, WHERE)
        for wrong in (
            "mask forgotten",
            "mask of the upstream gradient",
            "mask without the bias",
            "relu for its mask",
            "mask reversed",
        )
    ],
    *[
        Mistake(BinaryByHand, wrong, E, BINARY, BINARY)
        for wrong in (
            "sigmoid's derivative on top",
            "logits for probabilities",
            "only the positive part",
            "only the negative part",
            "second term negative",
            "target not subtracted",
            "sigmoid twice",
            "sigmoid left out",
        )
    ],
)
