"""Scaled dot-product attention, with projections of the input, and rotary positions."""

import numpy as np
import torch
import torch.nn.functional as F

from wrong_derivations.mistake import Mistake, softmax, softmax_backward


class Attention:
    """One head, causal, (B, T, D) with T = D so that a forgotten transpose goes unnoticed."""

    def inputs(self, rng):
        return {name: rng.standard_normal((2, 5, 5)) for name in ("q", "k", "v", "dout")}

    def manual(self, wrong, q, k, v, dout):
        T, D = q.shape[1:]
        scale = 1 / np.sqrt(D)
        scores = q @ k.transpose(0, 2, 1) * (1 if wrong == "scale left out" else scale)
        if wrong == "1/d for 1/sqrt(d)":
            scores = scores * scale
        everything = softmax(scores)
        if wrong != "mask left out":
            scores = np.where(np.tri(T, dtype=bool), scores, -np.inf)
        p = softmax(scores, axis=1 if wrong == "softmax over the queries" else -1)
        dv = p.transpose(0, 2, 1) @ dout
        if wrong == "probabilities not transposed":
            dv = p @ dout
        if wrong == "scores in dv":
            dv = np.where(np.tri(T, dtype=bool), scores, 0).transpose(0, 2, 1) @ dout
        dp = dout @ v.transpose(0, 2, 1)
        if wrong == "value not transposed":
            dp = dout @ v
        ds = softmax_backward(everything if wrong == "mask left out of softmax's gradient" else p, dp)
        if wrong == "softmax over the queries in the gradient alone":
            over = softmax(scores, axis=1)
            ds = over * (dp - (dp * over).sum(1, keepdims=True))
        if wrong == "p (1 - p)":
            ds = p * (1 - p) * dp
        if wrong == "softmax left out":
            ds = np.where(np.tri(T, dtype=bool), dp, 0)
        if wrong == "row sum left out":
            ds = p * dp
        if wrong == "factor p left out":
            ds = np.where(np.tri(T, dtype=bool), dp - (dp * p).sum(-1, keepdims=True), 0)
        if wrong == "softmax twice":
            ds = softmax_backward(p, ds)
        if wrong == "weighed after the sum":
            ds = p * (dp - p * dp.sum(-1, keepdims=True))
        if wrong == "sum not weighed":
            ds = p * (dp - dp.sum(-1, keepdims=True))
        if wrong == "sum not multiplied by p":
            ds = np.where(np.tri(T, dtype=bool), p * dp - (p * dp).sum(-1, keepdims=True), 0)
        if wrong == "scale left out of softmax's gradient alone":
            return {"v": dv, "q": ds @ k, "k": ds.transpose(0, 2, 1) @ q * scale}
        ds = ds * (1 if wrong == "scale left out" else scale * scale if wrong == "1/d for 1/sqrt(d)" else scale)
        dk = ds.transpose(0, 2, 1) @ q
        if wrong == "scores not transposed in dk":
            dk = ds @ q
        dq = ds @ k
        if wrong == "key transposed in dq":
            dq = ds @ k.transpose(0, 2, 1)
        if wrong == "query for key":
            dq = ds @ q
        if wrong == "query and key exchanged":
            dq, dk = ds @ q, ds.transpose(0, 2, 1) @ k
        return {"v": dv, "q": dq, "k": dk}

    def fused(self, q, k, v, dout):
        out = F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None], is_causal=True)
        return (out[:, 0] * dout).sum()

    def written(self, q, k, v, dout):
        scores = q @ k.transpose(1, 2) / 5**0.5
        masked = scores.masked_fill(torch.ones(5, 5).triu(1) > 0, float("-inf"))
        p = F.softmax(masked, dim=-1)
        out = p @ v
        return (out * dout).sum()


class SelfAttention:
    """The query, key and value are projections of one input; a residual around it."""

    def inputs(self, rng):
        weights = {name: rng.standard_normal((4, 4)) / 2 for name in ("Wq", "Wk", "Wv")}
        return {"x": rng.standard_normal((6, 4)), **weights, "dout": rng.standard_normal((6, 4))}

    def manual(self, wrong, x, Wq, Wk, Wv, dout):
        q, k, v = x @ Wq, x @ Wk, x @ Wv
        p = softmax(q @ k.T / 2)
        dv = p.T @ dout
        ds = softmax_backward(p, dout @ v.T) / 2
        dq, dk = ds @ k, ds.T @ q
        ways = {"key": dk @ Wk.T, "query": dq @ Wq.T, "value": dv @ Wv.T, "residual": dout}
        dx = sum(way for name, way in ways.items() if wrong != f"{name}'s way left out")
        if wrong == "residual twice":
            dx = dx + dout
        if wrong == "value projected by the query's weight":
            dx = dx - ways["value"] + dv @ Wq.T
        return {"Wq": x.T @ dq, "Wk": x.T @ dk, "Wv": x.T @ dv, "x": dx}

    def written(self, x, Wq, Wk, Wv, dout):
        q = x @ Wq
        k = x @ Wk
        v = x @ Wv
        p = torch.softmax(q @ k.T / 2, dim=1)
        y = x + p @ v
        return (y * dout).sum()

    def fused(self, x, Wq, Wk, Wv, dout):
        y = x + F.scaled_dot_product_attention((x @ Wq)[None], (x @ Wk)[None], (x @ Wv)[None])[0]
        return (y * dout).sum()


D, P, E = "derivative", "path", "derivative|path"
A = r"scaled_dot_product_attention in line"
S = r"softmax in line \d+, p ="

MISTAKES = (
    Mistake(Attention, "scale left out", E, A, r"(div|truediv) in line \d+, scores"),
    Mistake(Attention, "1/d for 1/sqrt(d)", E, A, r"div in line \d+, scores"),
    Mistake(Attention, "mask left out", E, "", r"masked_fill in line"),
    Mistake(Attention, "softmax over the queries", D, A, S),
    Mistake(Attention, "softmax over the queries in the gradient alone", D, A, S),
    Mistake(Attention, "probabilities not transposed", D, A, r"matmul in line \d+, out ="),
    Mistake(Attention, "value not transposed", D, A, r"matmul in line \d+, out ="),
    Mistake(Attention, "scores in dv", D, "", r"matmul in line \d+, out ="),
    Mistake(Attention, "p (1 - p)", D, A, S),
    Mistake(Attention, "softmax left out", D, A, S),
    Mistake(Attention, "row sum left out", D, A, S),
    Mistake(Attention, "factor p left out", D, A, S),
    Mistake(Attention, "softmax twice", D, A, S),
    Mistake(Attention, "weighed after the sum", D, A, S),
    Mistake(Attention, "sum not weighed", D, A, S),
    Mistake(Attention, "sum not multiplied by p", D, A, S),
    Mistake(Attention, "scores not transposed in dk", D, A, r"line \d+, scores ="),
    Mistake(Attention, "key transposed in dq", D, A, r"matmul in line \d+, scores ="),
    Mistake(Attention, "query for key", D, A, r"matmul in line \d+, scores ="),
    Mistake(Attention, "query and key exchanged", D, A, r"matmul in line \d+, scores ="),
    Mistake(Attention, "mask left out of softmax's gradient", D, A, S),
    Mistake(SelfAttention, "key's way left out", P, r"line \d+, y =", r"matmul in line \d+, k ="),
    Mistake(SelfAttention, "query's way left out", P, r"line \d+, y =", r"matmul in line \d+, q ="),
    Mistake(SelfAttention, "value's way left out", P, r"line \d+, y =", r"matmul in line \d+, v ="),
    Mistake(SelfAttention, "residual's way left out", P, r"add in line \d+, y =", r"add in line \d+, y ="),
    Mistake(SelfAttention, "residual twice", P, r"add in line \d+, y =", r"add in line \d+, y ="),
    Mistake(SelfAttention, "value projected by the query's weight", D, r"line \d+, y =", r"matmul in line \d+, v ="),
)
