"""Layers with right gradients derived by hand, each beside the same loss in PyTorch: material for `faults.py`.

Every layer is a class with `inputs(rng, dtype)`, `manual(**inputs)` and `reference(**inputs)`. The loss is the sum of
the output times a random upstream gradient unless the layer is a loss itself. A class attribute named like a mistake
changes `manual` the way people do by accident; `faults.py` sets it in a subclass.
"""

from typing import Any

import numpy as np

try:
    import torch
    import torch.nn.functional as F
except ImportError:  # the table can be read without PyTorch, it just cannot be run
    pass

Arrays = dict[str, Any]


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


class Dense:
    """Two layers with ReLU between, mean cross-entropy of integer labels."""

    size = (12, 7, 9, 5)
    average = True
    masked = True
    decay = 0.0
    relu_at_zero = 0.0
    scale = 1.0

    def inputs(self, rng, dtype):
        count, features, hidden, classes = self.size
        return {
            "x": (self.scale * rng.standard_normal((count, features))).astype(dtype),
            "weight1": (rng.standard_normal((features, hidden)) / np.sqrt(features) / self.scale).astype(dtype),
            "bias1": (0.1 * rng.standard_normal(hidden)).astype(dtype),
            "weight2": (rng.standard_normal((hidden, classes)) / np.sqrt(hidden)).astype(dtype),
            "bias2": (0.1 * rng.standard_normal(classes)).astype(dtype),
            "labels": rng.integers(0, classes, count),
        }

    def manual(self, x, weight1, bias1, weight2, bias2, labels):
        count = len(x)
        s = x @ weight1 + bias1
        h = np.maximum(s, 0)
        d = softmax(h @ weight2 + bias2)
        d[np.arange(count), labels] -= 1
        if self.average:
            d /= count
        dh = d @ weight2.T
        ds = dh * ((s > 0) + self.relu_at_zero * (s == 0)).astype(x.dtype) if self.masked else dh
        return {
            "weight2": h.T @ d + self.decay * weight2,
            "bias2": d.sum(axis=0),
            "weight1": x.T @ ds + self.decay * weight1,
            "bias1": ds.sum(axis=0),
            "x": ds @ weight1.T,
        }

    def reference(self, x, weight1, bias1, weight2, bias2, labels):
        return F.cross_entropy(torch.relu(x @ weight1 + bias1) @ weight2 + bias2, labels)


class Decay(Dense):
    """The same with weight decay on the weights in the loss."""

    decay = 0.01

    def reference(self, x, weight1, bias1, weight2, bias2, labels):
        loss = super().reference(x, weight1, bias1, weight2, bias2, labels)
        return loss + 0.005 * (weight1.square().sum() + weight2.square().sum())


class Convolution:
    """Cross-correlation of (N, C, H, W) images with (O, C, k, k) kernels, no padding."""

    flip = False
    last_row = True

    def inputs(self, rng, dtype):
        return {
            "x": rng.standard_normal((3, 2, 6, 7)).astype(dtype),
            "kernel": rng.standard_normal((4, 2, 3, 3)).astype(dtype),
            "bias": rng.standard_normal(4).astype(dtype),
            "dout": rng.standard_normal((3, 4, 4, 5)).astype(dtype),
        }

    def manual(self, x, kernel, bias, dout):
        dx, dkernel = np.zeros_like(x), np.zeros_like(kernel)
        rows = dout.shape[2] if self.last_row else dout.shape[2] - 1
        for i in range(rows):
            for j in range(dout.shape[3]):
                patch = x[:, :, i : i + 3, j : j + 3]
                dkernel += np.einsum("no,ncij->ocij", dout[:, :, i, j], patch)
                used = kernel[:, :, ::-1, ::-1] if self.flip else kernel
                dx[:, :, i : i + 3, j : j + 3] += np.einsum("no,ocij->ncij", dout[:, :, i, j], used)
        return {"bias": dout.sum(axis=(0, 2, 3)), "kernel": dkernel, "x": dx}

    def reference(self, x, kernel, bias, dout):
        return (F.conv2d(x, kernel, bias) * dout).sum()


class BatchNorm:
    """Normalisation over the batch, with gain and shift."""

    eps = 1e-5
    through_mean = True
    through_variance = True

    def inputs(self, rng, dtype):
        return {
            "x": (3 * rng.standard_normal((10, 6)) + 2).astype(dtype),
            "gain": (1 + 0.3 * rng.standard_normal(6)).astype(dtype),
            "shift": rng.standard_normal(6).astype(dtype),
            "dout": rng.standard_normal((10, 6)).astype(dtype),
        }

    def manual(self, x, gain, shift, dout):
        mean, deviation = x.mean(axis=0), np.sqrt(x.var(axis=0) + x.dtype.type(self.eps))
        z = (x - mean) / deviation
        dz = dout * gain
        dx = dz.copy()
        if self.through_mean:
            dx -= dz.mean(axis=0)
        if self.through_variance:
            dx -= z * (dz * z).mean(axis=0)
        return {"gain": (dout * z).sum(axis=0), "shift": dout.sum(axis=0), "x": dx / deviation}

    def reference(self, x, gain, shift, dout):
        return (F.batch_norm(x, None, None, gain, shift, training=True, eps=1e-5) * dout).sum()


class LayerNorm:
    """Normalisation over the features, (N, T, D)."""

    compact = False

    def inputs(self, rng, dtype):
        return {
            "x": (2 * rng.standard_normal((3, 5, 8)) - 1).astype(dtype),
            "gain": (1 + 0.3 * rng.standard_normal(8)).astype(dtype),
            "shift": rng.standard_normal(8).astype(dtype),
            "dout": rng.standard_normal((3, 5, 8)).astype(dtype),
        }

    def manual(self, x, gain, shift, dout):
        width = x.shape[-1]
        inverse = 1 / np.sqrt(x.var(axis=-1, keepdims=True) + x.dtype.type(1e-5))
        z = (x - x.mean(axis=-1, keepdims=True)) * inverse
        dz = dout * gain
        if self.compact:
            total = width * dz - dz.sum(-1, keepdims=True) - z * (dz * z).sum(-1, keepdims=True)
            dx = inverse / width * total
        else:
            dx = (dz - dz.mean(-1, keepdims=True) - z * (dz * z).mean(-1, keepdims=True)) * inverse
        return {"gain": (dout * z).sum(axis=(0, 1)), "shift": dout.sum(axis=(0, 1)), "x": dx}

    def reference(self, x, gain, shift, dout):
        return (F.layer_norm(x, (x.shape[-1],), gain, shift, eps=1e-5) * dout).sum()


class Attention:
    """Causal scaled dot-product attention of one head, (B, T, D)."""

    rescaled = True
    diagonal_only = False

    def inputs(self, rng, dtype):
        shape = (2, 6, 6)
        return {name: rng.standard_normal(shape).astype(dtype) for name in ("query", "key", "value", "dout")}

    def manual(self, query, key, value, dout):
        length, width = query.shape[1:]
        scores = query @ key.transpose(0, 2, 1) / query.dtype.type(np.sqrt(width))
        scores = np.where(np.tri(length, dtype=bool), scores, -np.inf)
        p = softmax(scores)
        dp = dout @ value.transpose(0, 2, 1)
        ds = p * (1 - p) * dp if self.diagonal_only else p * (dp - (dp * p).sum(axis=-1, keepdims=True))
        if self.rescaled:
            ds = ds / query.dtype.type(np.sqrt(width))
        return {"value": p.transpose(0, 2, 1) @ dout, "query": ds @ key, "key": ds.transpose(0, 2, 1) @ query}

    def reference(self, query, key, value, dout):
        length, width = query.shape[1:]
        scores = query @ key.transpose(-1, -2) / width**0.5
        scores = scores.masked_fill(~torch.ones(length, length, dtype=torch.bool).tril(), -torch.inf)
        return (scores.softmax(-1) @ value * dout).sum()


class Embedding:
    """Rows of a table, some of them several times."""

    accumulate = True

    def inputs(self, rng, dtype):
        return {
            "table": rng.standard_normal((11, 4)).astype(dtype),
            "tokens": np.concatenate([rng.integers(0, 11, 6), [3, 3, 3, 8]]),
            "dout": rng.standard_normal((10, 4)).astype(dtype),
        }

    def manual(self, table, tokens, dout):
        dtable = np.zeros_like(table)
        if self.accumulate:
            np.add.at(dtable, tokens, dout)
        else:
            dtable[tokens] = dout
        return {"table": dtable}

    def reference(self, table, tokens, dout):
        return (F.embedding(tokens, table) * dout).sum()


class Recurrent:
    """A tanh recurrent network over T steps; the loss reads every state."""

    steps_back = 100
    first_step = 0

    def inputs(self, rng, dtype):
        return {
            "x": rng.standard_normal((5, 3, 4)).astype(dtype),
            "into": (0.5 * rng.standard_normal((4, 6))).astype(dtype),
            "across": (0.4 * rng.standard_normal((6, 6))).astype(dtype),
            "bias": (0.1 * rng.standard_normal(6)).astype(dtype),
            "dout": rng.standard_normal((5, 3, 6)).astype(dtype),
        }

    def manual(self, x, into, across, bias, dout):
        states = [np.zeros((x.shape[1], across.shape[0]), x.dtype)]
        for step in x:
            states.append(np.tanh(step @ into + states[-1] @ across + bias))
        dinto, dacross, dbias, dx = np.zeros_like(into), np.zeros_like(across), np.zeros_like(bias), np.zeros_like(x)
        dstate = np.zeros_like(states[0])
        for t in range(len(x) - 1, self.first_step - 1, -1):
            ds = (dout[t] + dstate) * (1 - states[t + 1] ** 2)
            dinto += x[t].T @ ds
            dacross += states[t].T @ ds
            dbias += ds.sum(axis=0)
            dx[t] = ds @ into.T
            dstate = ds @ across.T if len(x) - t < self.steps_back else np.zeros_like(ds)
        return {"bias": dbias, "into": dinto, "across": dacross, "x": dx}

    def reference(self, x, into, across, bias, dout):
        state, loss = x.new_zeros(x.shape[1], across.shape[0]), 0
        for step, upstream in zip(x, dout, strict=True):
            state = torch.tanh(step @ into + state @ across + bias)
            loss = loss + (state * upstream).sum()
        return loss


class SquaredError:
    """Half the mean squared error of a linear model with L2 penalty, strength as an input."""

    def inputs(self, rng, dtype):
        return {
            "x": rng.standard_normal((9, 4)).astype(dtype),
            "weight": rng.standard_normal((4, 3)).astype(dtype),
            "strength": np.array(0.125, dtype),
            "targets": rng.standard_normal((9, 3)).astype(dtype),
        }

    def manual(self, x, weight, strength, targets):
        rest = (x @ weight - targets) / x.dtype.type(targets.size)
        return {
            "weight": x.T @ rest + strength * weight,
            "strength": 0.5 * (weight * weight).sum(),
            "x": rest @ weight.T,
            "targets": -rest,
        }

    def reference(self, x, weight, strength, targets):
        return 0.5 * F.mse_loss(x @ weight, targets) + 0.5 * strength * weight.square().sum()


class Logistic:
    """Binary cross-entropy from logits."""

    scale = 3.0

    def inputs(self, rng, dtype):
        return {
            "logits": (self.scale * rng.standard_normal((8, 5))).astype(dtype),
            "targets": rng.integers(0, 2, (8, 5)),
        }

    def manual(self, logits, targets):
        return {"logits": (1 / (1 + np.exp(-logits)) - targets).astype(logits.dtype) / logits.dtype.type(logits.size)}

    def reference(self, logits, targets):
        return F.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype))


class Temperature:
    """Cross-entropy of probabilities with a temperature, which is an input too."""

    def inputs(self, rng, dtype):
        return {
            "logits": (4 * rng.standard_normal((6, 5))).astype(dtype),
            "temperature": np.array(2.5, dtype),
            "targets": rng.dirichlet(np.ones(5), 6).astype(dtype),
        }

    def manual(self, logits, temperature, targets):
        z = logits / temperature
        rest = (softmax(z) * targets.sum(axis=1, keepdims=True) - targets) / logits.dtype.type(len(logits))
        return {"logits": rest / temperature, "temperature": -(rest * z).sum() / temperature}

    def reference(self, logits, temperature, targets):
        return -(targets * torch.log_softmax(logits / temperature, dim=1)).sum() / len(logits)


class Hinge:
    """Multi-class hinge loss of a linear model."""

    margin = 1.0
    quantised = False

    def inputs(self, rng, dtype):
        x, weight = rng.standard_normal((8, 5)), rng.standard_normal((5, 4))
        if self.quantised:  # halves add up exactly, so that many margins are met exactly
            x, weight = np.round(x * 2) / 2, np.round(weight * 2) / 2
        return {"x": x.astype(dtype), "weight": weight.astype(dtype), "labels": rng.integers(0, 4, 8)}

    def manual(self, x, weight, labels):
        scores = x @ weight
        rows = np.arange(len(x))
        violated = (scores - scores[rows, labels][:, None] + 1 > 0).astype(x.dtype)
        violated[rows, labels] = 0
        violated[rows, labels] = -violated.sum(axis=1)
        violated /= len(x)
        return {"weight": x.T @ violated, "x": violated @ weight.T}

    def reference(self, x, weight, labels):
        scores = x @ weight
        rows = torch.arange(len(x))
        margins = torch.relu(scores - scores[rows, labels][:, None] + 1)
        return (margins.sum() - margins[rows, labels].sum()) / len(x)


class MaxPool:
    """2 x 2 max pooling; `levels` quantises the image so that maxima tie."""

    levels = 0
    share = "first"

    def inputs(self, rng, dtype):
        x = rng.standard_normal((2, 2, 4, 6))
        x = np.round(x * self.levels) if self.levels else x
        return {"x": x.astype(dtype), "dout": rng.standard_normal((2, 2, 2, 3)).astype(dtype)}

    def manual(self, x, dout):
        windows = x.reshape(2, 2, 2, 2, 3, 2).transpose(0, 1, 2, 4, 3, 5).reshape(2, 2, 2, 3, 4)
        tied = windows == windows.max(axis=-1, keepdims=True)
        if self.share == "first":
            taken = np.arange(4) == windows.argmax(axis=-1)[..., None]
        elif self.share == "last":
            taken = np.arange(4) == 3 - tied[..., ::-1].argmax(axis=-1)[..., None]
        elif self.share == "even":
            taken = tied / tied.sum(axis=-1, keepdims=True)
        else:
            taken = tied
        dwindows = taken * dout[..., None]
        dx = dwindows.reshape(2, 2, 2, 3, 2, 2).transpose(0, 1, 2, 4, 3, 5).reshape(x.shape)
        return {"x": dx.astype(x.dtype)}

    def reference(self, x, dout):
        return (F.max_pool2d(x, 2) * dout).sum()


class Absolute:
    """L1 loss with exact zeros."""

    slope_at_zero = 0.0

    def inputs(self, rng, dtype):
        x = rng.standard_normal((6, 4))
        x[1, 2] = x[4, 0] = 0
        return {"x": x.astype(dtype), "weight": rng.standard_normal((6, 4)).astype(dtype)}

    def manual(self, x, weight):
        sign = np.sign(x) + self.slope_at_zero * (x == 0)
        return {"x": (sign * weight).astype(x.dtype), "weight": np.abs(x)}

    def reference(self, x, weight):
        return (x.abs() * weight).sum()


class Solve:
    """The loss reads the solution of a linear system; `condition` makes it ill-conditioned."""

    condition = 1e3

    def inputs(self, rng, dtype):
        left, _ = np.linalg.qr(rng.standard_normal((6, 6)))
        right, _ = np.linalg.qr(rng.standard_normal((6, 6)))
        matrix = left * np.logspace(0, -np.log10(self.condition), 6) @ right
        return {
            "matrix": matrix.astype(dtype),
            "b": rng.standard_normal(6).astype(dtype),
            "dout": rng.standard_normal(6).astype(dtype),
        }

    def manual(self, matrix, b, dout):
        solution = np.linalg.solve(matrix, b)
        db = np.linalg.solve(matrix.T, dout)
        return {"b": db, "matrix": -np.outer(db, solution)}

    def reference(self, matrix, b, dout):
        return torch.linalg.solve(matrix, b) @ dout


class LongSum:
    """A mean over many rows, added up one by one."""

    count = 20000

    def inputs(self, rng, dtype):
        return {"x": rng.standard_normal((self.count, 3)).astype(dtype), "weight": rng.standard_normal(3).astype(dtype)}

    def manual(self, x, weight):
        s = np.tanh(x @ weight)
        total = np.zeros_like(weight)
        for row, value in zip(x, (1 - s * s) / x.dtype.type(len(x)), strict=True):
            total += row * value
        return {"weight": total}

    def reference(self, x, weight):
        return torch.tanh(x @ weight).mean()


RIGHT = (
    Dense,
    Decay,
    Convolution,
    BatchNorm,
    LayerNorm,
    Attention,
    Embedding,
    Recurrent,
    SquaredError,
    Logistic,
    Temperature,
    Hinge,
    MaxPool,
    Absolute,
    Solve,
    LongSum,
)
