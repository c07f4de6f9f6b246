"""Gates, smooth activations, residuals and dropout."""

import numpy as np
import torch
import torch.nn.functional as F

from wrong_derivations.mistake import Mistake, sigmoid


class GLU:
    """A gated linear unit."""

    def inputs(self, rng):
        shape = (4, 5)
        return {
            "x": rng.standard_normal((6, 4)),
            "A": rng.standard_normal(shape),
            "B": rng.standard_normal(shape),
            "dout": rng.standard_normal((6, 5)),
        }

    def manual(self, wrong, x, A, B, dout):
        a, b = x @ A, x @ B
        g = sigmoid(b)
        slope = {
            "sigmoid's derivative left out": np.ones_like(g),
            "sigmoid for its derivative": g,
            "1 - sigmoid": 1 - g,
            "sigmoid of sigmoid": sigmoid(g) * (1 - sigmoid(g)),
            "b (1 - b)": b * (1 - b),
            "tanh's derivative": 1 - g**2,
            "derivative at the other branch": sigmoid(a) * (1 - sigmoid(a)),
        }.get(wrong, g * (1 - g))
        da = dout * (b if wrong == "gate without its sigmoid" else g)
        db = dout * a * slope
        if wrong == "branch not multiplied":
            db = dout * slope
        if wrong == "gate in its own gradient":
            db = dout * g * slope
        da_x, db_x = da @ A.T, db @ B.T
        dx = {"gate's way left out": da_x, "value's way left out": db_x}.get(wrong, da_x + db_x)
        return {"A": x.T @ da, "B": x.T @ db, "x": dx}

    def written(self, x, A, B, dout):
        a = x @ A
        b = x @ B
        g = torch.sigmoid(b)
        y = a * g
        return (y * dout).sum()

    def fused(self, x, A, B, dout):
        y = F.glu(torch.cat([x @ A, x @ B], dim=1), dim=1)
        return (y * dout).sum()


class Smooth:
    """silu and gelu, one after the other, with a weight between."""

    def inputs(self, rng):
        return {
            "x": rng.standard_normal((6, 4)),
            "W": rng.standard_normal((4, 4)),
            "dout": rng.standard_normal((6, 4)),
        }

    def manual(self, wrong, x, W, dout):
        g = sigmoid(x)
        h = x * g
        s = h @ W
        erf = np.asarray(torch.erf(torch.from_numpy(s / np.sqrt(2))))
        cdf, density = (1 + erf) / 2, np.exp(-(s**2) / 2) / np.sqrt(2 * np.pi)
        slope = cdf + s * density
        if wrong == "gelu's second term left out":
            slope = cdf
        if wrong == "gelu's first term left out":
            slope = s * density
        if wrong == "density not multiplied by x":
            slope = cdf + density
        if wrong == "tanh approximation":
            inner = np.sqrt(2 / np.pi) * (s + 0.044715 * s**3)
            slope = (1 + np.tanh(inner)) / 2 + s / 2 * (1 - np.tanh(inner) ** 2) * np.sqrt(2 / np.pi) * (
                1 + 3 * 0.044715 * s**2
            )
        if wrong == "sigmoid approximation":
            q = sigmoid(1.702 * s)
            slope = q + 1.702 * s * q * (1 - q)
        ds = dout * slope
        silu = g + x * g * (1 - g)
        if wrong == "silu's second term left out":
            silu = g
        if wrong == "silu's first term left out":
            silu = x * g * (1 - g)
        if wrong == "1 - sigmoid left out":
            silu = g + x * g
        if wrong == "silu like sigmoid":
            silu = h * (1 - h)
        return {"W": (x if wrong == "input of silu in dW" else h).T @ ds, "x": ds @ W.T * silu}

    def fused(self, x, W, dout):
        h = F.silu(x)
        y = F.gelu(h @ W)
        return (y * dout).sum()

    def written(self, x, W, dout):
        h = x * torch.sigmoid(x)
        s = h @ W
        y = 0.5 * s * (1 + torch.erf(s / 2**0.5))
        return (y * dout).sum()


class Residual:
    """A residual block with a leaky ReLU and dropout."""

    def inputs(self, rng):
        return {
            "x": rng.standard_normal((6, 4)),
            "W1": rng.standard_normal((4, 5)),
            "W2": rng.standard_normal((5, 4)),
            "keep": rng.random((6, 5)) < 0.7,
            "dout": rng.standard_normal((6, 4)),
        }

    def manual(self, wrong, x, W1, W2, keep, dout):
        s = x @ W1
        h = np.where(s > 0, s, 0.1 * s)
        m = keep / 0.7
        dropped = h if wrong == "mask left out of the forward pass" else h * m
        dm = dout @ W2.T
        dh = dm * m
        if wrong in {"dropout left out", "mask left out of the forward pass"}:
            dh = dm
        if wrong == "dropout twice":
            dh = dm * m * m
        if wrong == "not rescaled":
            dh = dm * keep
        slope = {"slope 0": 0.0, "slope 0.01": 0.01, "slope 0.2": 0.2, "derivative left out": 1.0}.get(wrong, 0.1)
        ds = dh * np.where(s > 0, 1, slope)
        if wrong == "slope at the result of the dropout":
            ds = dh * np.where(dropped > 0, 1, 0.1)
        branch = ds @ W1.T
        dx = {
            "skip left out": branch,
            "branch left out": dout,
            "skip twice": 2 * dout + branch,
            "skip negative": branch - dout,
            "half of the skip": branch + 0.5 * dout,
        }.get(wrong, dout + branch)
        return {"W2": dropped.T @ dout, "W1": x.T @ ds, "x": dx}

    def fused(self, x, W1, W2, keep, dout):
        h = F.leaky_relu(x @ W1, 0.1)
        dropped = h * keep / 0.7
        y = x + dropped @ W2
        return (y * dout).sum()

    def written(self, x, W1, W2, keep, dout):
        s = x @ W1
        h = torch.where(s > 0, s, 0.1 * s)
        dropped = torch.where(keep, h / 0.7, 0.0)
        y = x + dropped @ W2
        return (y * dout).sum()


D, P, E = "derivative", "path", "derivative|path"
SIG, G = r"sigmoid in line \d+, g =", r"glu in line"

MISTAKES = (
    Mistake(GLU, "sigmoid's derivative left out", D, G, SIG),
    Mistake(GLU, "sigmoid for its derivative", D, G, SIG),
    Mistake(GLU, "1 - sigmoid", D, G, SIG),
    Mistake(GLU, "sigmoid of sigmoid", D, G, SIG),
    Mistake(GLU, "b (1 - b)", D, G, SIG),
    Mistake(GLU, "tanh's derivative", D, G, SIG),
    Mistake(GLU, "derivative at the other branch", D, G, SIG),
    Mistake(GLU, "gate without its sigmoid", D, G, r"mul in line \d+, y ="),
    Mistake(GLU, "branch not multiplied", E, G, r"mul in line \d+, y ="),
    Mistake(GLU, "gate in its own gradient", D, G, r"mul in line \d+, y ="),
    Mistake(GLU, "gate's way left out", P, r"line \d+, y = F.glu", r"matmul in line \d+, b ="),
    Mistake(GLU, "value's way left out", P, r"line \d+, y = F.glu", r"matmul in line \d+, a ="),
    Mistake(Smooth, "gelu's second term left out", E, r"gelu in line", r"erf in line|line \d+, y ="),
    Mistake(Smooth, "gelu's first term left out", E, r"gelu in line", r"mul in line \d+, y ="),
    Mistake(Smooth, "density not multiplied by x", E, r"gelu in line", r"line \d+, y ="),
    Mistake(Smooth, "tanh approximation", D, r"gelu in line", ""),
    Mistake(Smooth, "sigmoid approximation", D, r"gelu in line", ""),
    Mistake(Smooth, "silu's second term left out", E, r"silu in line", r"sigmoid in line \d+, h ="),
    Mistake(Smooth, "silu's first term left out", E, r"silu in line", r"mul in line \d+, h ="),
    Mistake(Smooth, "1 - sigmoid left out", D, r"silu in line", r"sigmoid in line \d+, h ="),
    Mistake(Smooth, "silu like sigmoid", D, r"silu in line", ""),
    Mistake(Smooth, "input of silu in dW", D, r"line \d+, y = F.gelu", r"matmul in line \d+, s ="),
    Mistake(Residual, "dropout left out", D, r"line \d+, (dropped|h) =.*dropped|leaky_relu in line", r"where in line"),
    Mistake(Residual, "dropout twice", D, r"line \d+, dropped", ""),
    Mistake(Residual, "not rescaled", E, r"div in line \d+, dropped", r"div in line \d+, dropped"),
    Mistake(Residual, "mask left out of the forward pass", E, r"line \d+, dropped", r"where in line \d+, dropped"),
    Mistake(Residual, "slope 0", D, r"leaky_relu in line", r"line \d+, h ="),
    Mistake(Residual, "slope 0.01", D, r"leaky_relu in line", ""),
    Mistake(Residual, "slope 0.2", D, r"leaky_relu in line", ""),
    Mistake(Residual, "derivative left out", D, r"leaky_relu in line", r"line \d+, h ="),
    Mistake(Residual, "skip left out", P, r"add in line \d+, y =", r"add in line \d+, y ="),
    Mistake(Residual, "branch left out", P, r"line \d+, (y|h|s) =", r"line \d+, (y|h|s) ="),
    Mistake(Residual, "skip twice", P, r"add in line \d+, y =", r"add in line \d+, y ="),
    Mistake(Residual, "skip negative", P, r"add in line \d+, y =", r"add in line \d+, y ="),
    Mistake(Residual, "half of the skip", P, r"add in line \d+, y =", r"add in line \d+, y ="),
)
