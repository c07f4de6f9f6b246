"""Losses on the product's layers, each beside the same loss in PyTorch: material for `faults.py`.

Every layer is a class with `inputs(rng, dtype)`, `manual(**inputs)` and `reference(**inputs)`. The loss is the sum of
the output times a random upstream gradient unless the layer is a loss itself. A class attribute named like a mistake
changes a line of the product the way people do by accident; `faults.py` sets it in a subclass. Layers that the
product does not have are written out.
"""

from typing import Any

import numpy as np
from planted import planted

from manual_backprop import layers

try:
    import torch
    import torch.nn.functional as F
except ImportError:  # the table can be read without PyTorch, it just cannot be run
    pass

Arrays = dict[str, Any]


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
        loss_backward, relu_backward = layers.cross_entropy_backward, layers.relu_backward
        if not self.average:
            loss_backward = planted("cross_entropy_backward", ("(difference / len(logits))", "difference"))
        if not self.masked:
            relu_backward = planted("relu_backward", ("return grad_output * (x > 0)", "return grad_output"))
        s = layers.linear(x, weight1, bias1)
        h = layers.relu(s)
        d = loss_backward(layers.linear(h, weight2, bias2), labels)
        dh, dweight2, dbias2 = layers.linear_backward(d, h, weight2)
        ds = relu_backward(dh, s) + (self.relu_at_zero * (s == 0)).astype(x.dtype) * dh
        dx, dweight1, dbias1 = layers.linear_backward(ds, x, weight1)
        return {
            "weight2": dweight2 + self.decay * weight2,
            "bias2": dbias2,
            "weight1": dweight1 + self.decay * weight1,
            "bias1": dbias1,
            "x": dx,
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
        changes = []
        if self.flip:
            changes.append(("weight[:, :, i, j]", "weight[:, :, ::-1, ::-1][:, :, i, j]"))
        if not self.last_row:
            changes.append(
                ("np.tensordot(grad_output, seen, ", "np.tensordot(grad_output[:, :, :-1], seen[:, :, :-1], ")
            )
        dx, dkernel, dbias = planted("conv2d_backward", *changes)(dout, x, kernel)
        return {"bias": dbias, "kernel": dkernel, "x": dx}

    def reference(self, x, kernel, bias, dout):
        return (F.conv2d(x, kernel, bias) * dout).sum()


class BatchNorm:
    """Normalisation over the batch, with gain and shift."""

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
        changes = []
        if not self.through_mean:
            changes.append(("(grad_output - mean - ", "(grad_output - "))
        if not self.through_variance:
            changes.append((" - normalized * correlation)\n\n\ndef batch_norm", ")\n\n\ndef batch_norm"))
        dx, dgain, dshift = planted("batch_norm_backward", *changes)(dout, x, gain)
        return {"gain": dgain, "shift": dshift, "x": dx}

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
        changes = []
        if self.compact:  # the form with one division, which is right too
            right = "return inverse_deviation * (grad_output - mean - normalized * correlation)"
            sums = "m * grad_output - m * mean - normalized * (grad_output * normalized).sum(axes, keepdims=True)"
            changes.append((right, f"m = grad_output.shape[-1]; return inverse_deviation / m * ({sums})"))
        dx, dgain, dshift = planted("layer_norm_backward", *changes)(dout, x, gain)
        return {"gain": dgain, "shift": dshift, "x": dx}

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
        changes = []
        if self.diagonal_only:
            jacobian = "weights * (grad_weights - (weights * grad_weights).sum(axis=-1, keepdims=True))"
            changes.append((jacobian, "weights * (1 - weights) * grad_weights"))
        if not self.rescaled:
            changes.append(
                (
                    "grad_query = grad_scores @ key[:, :, np.newaxis] / _root(query)",
                    "grad_query = grad_scores @ key[:, :, np.newaxis]",
                )
            )
            changes.append((".sum(axis=2) / _root(query)", ".sum(axis=2)"))
        backward = planted("scaled_dot_product_attention_backward", *changes)
        heads = (array[:, np.newaxis] for array in (dout, query, key, value))  # one head
        gradients = backward(*heads, causal=True)
        return dict(zip(("query", "key", "value"), (gradient[:, 0] for gradient in gradients), strict=True))

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
        change = "np.add.at(grad_weight, indices, grad_output)", "grad_weight[indices] = grad_output"
        backward = planted("embedding_backward", *([] if self.accumulate else [change]))
        return {"table": backward(dout, tokens, table)}

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
        half = x.dtype.type(0.5)
        rest = half * layers.mse_loss_backward(x @ weight, targets)
        dx, dweight, _ = layers.linear_backward(rest, x, weight)
        return {
            "weight": dweight + strength * weight,
            "strength": 0.5 * (weight * weight).sum(),
            "x": dx,
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
        return {"logits": layers.binary_cross_entropy_with_logits_backward(logits, targets)}

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
        rest = layers.cross_entropy_backward(z, targets)
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
        taken, tied = "grad_output * (largest == i * kernel[1] + j)", "(seen == seen.max(axis=(4, 5), keepdims=True))"
        windows = "seen.reshape(*seen.shape[:4], kernel[0] * kernel[1])"
        changes = {
            "first": (),
            "last": ((f"{windows}.argmax(axis=-1)", f"3 - {windows}[..., ::-1].argmax(axis=-1)"),),
            "even": ((taken, f"grad_output * ({tied} / {tied}.sum(axis=(4, 5), keepdims=True))[..., i, j]"),),
            "all": ((taken, f"grad_output * {tied}[..., i, j]"),),
        }[self.share]
        return {"x": planted("max_pool2d_backward", *changes)(dout, x, 2)}

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
