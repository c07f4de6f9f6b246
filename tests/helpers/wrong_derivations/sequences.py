"""Embeddings, tied weights and recurrence through time; sums over time and over groups."""

import numpy as np
import torch
import torch.nn.functional as F

from wrong_derivations.mistake import Mistake, sigmoid, softmax


class Tied:
    """An embedding table that is also the weight of the output, with tanh between."""

    def inputs(self, rng):
        return {
            "table": rng.standard_normal((7, 4)),
            "W": rng.standard_normal((4, 4)),
            "tokens": np.array([1, 3, 3, 0, 5, 3, 2]),
            "targets": np.array([3, 3, 0, 5, 3, 2, 6]),
        }

    def manual(self, wrong, table, W, tokens, targets):
        e = table[tokens]
        h = np.tanh(e @ W)
        p = softmax(h @ table.T)
        d = (p - np.eye(7)[targets]) / len(tokens)
        dtable = d.T @ h
        if wrong == "output use left out":
            dtable = np.zeros_like(table)
        ds = d @ table * (1 - h**2)
        de = ds @ W.T
        if wrong == "tokens overwritten":
            rows = np.zeros_like(table)
            rows[tokens] = de
            dtable = dtable + rows
        elif wrong == "tokens averaged":
            rows = np.zeros_like(table)
            np.add.at(rows, tokens, de)
            dtable = dtable + rows / np.maximum(np.bincount(tokens, minlength=7), 1)[:, None]
        elif wrong != "input use left out":
            np.add.at(dtable, tokens, de)
        if wrong == "output use twice":
            dtable = dtable + d.T @ h
        return {"W": e.T @ ds, "table": dtable}

    def fused(self, table, W, tokens, targets):
        e = F.embedding(tokens, table)
        h = torch.tanh(e @ W)
        logits = F.linear(h, table)
        return F.cross_entropy(logits, targets)

    def written(self, table, W, tokens, targets):
        e = table[tokens]
        h = torch.tanh(e @ W)
        logits = h @ table.T
        logp = torch.log_softmax(logits, dim=1)
        return F.nll_loss(logp, targets)


class RNN:
    """A tanh recurrence; the loss reads every state."""

    def inputs(self, rng):
        return {
            "x": rng.standard_normal((5, 3, 4)),
            "Wx": rng.standard_normal((4, 4)) / 2,
            "Wh": rng.standard_normal((4, 4)) / 2,
            "b": 0.2 * rng.standard_normal(4),
            "dout": rng.standard_normal((5, 3, 4)),
        }

    def manual(self, wrong, x, Wx, Wh, b, dout):
        T = len(x)
        h = [np.zeros((3, 4))]
        for t in range(T):
            h.append(np.tanh(x[t] @ Wx + h[-1] @ Wh + b))
        dWx, dWh, db, dx, dh = np.zeros_like(Wx), np.zeros_like(Wh), np.zeros_like(b), np.zeros_like(x), 0
        for t in reversed(range(T)):
            total = dh if wrong == "only the last output" and t < T - 1 else dout[t] + dh
            if wrong == "only the first output" and t > 0:
                total = 0 * dout[t]
            if wrong == "future overwritten":
                total = dout[t]
            slope = 1 - h[t + 1] ** 2
            if wrong == "derivative left out":
                slope = 1
            if wrong == "derivative of the state before":
                slope = 1 - h[t] ** 2
            if wrong == "tanh for its derivative":
                slope = h[t + 1]
            ds = total * slope
            before = h[t + 1] if wrong == "state of the same step" else h[t]
            if wrong == "weights of the last step alone" and t < T - 1:
                before = 0 * before
            if wrong == "weights overwritten":
                dWx, dWh, db = 0, 0, 0
            dWx = dWx + x[t].T @ ds
            dWh = dWh + before.T @ ds
            db = db + ds.sum(0)
            dx[t] = ds @ Wx.T
            dh = ds @ (Wh if wrong == "weight not transposed" else Wh.T)
            if wrong == "through the input's weight":
                dh = ds @ Wx.T
        return {"Wx": dWx, "Wh": dWh, "b": db, "x": dx}

    def written(self, x, Wx, Wh, b, dout):
        h = torch.zeros(3, 4, dtype=x.dtype)
        states = []
        for step in x:
            h = torch.tanh(step @ Wx + h @ Wh + b)
            states.append(h)
        return (torch.stack(states) * dout).sum()

    def fused(self, x, Wx, Wh, b, dout):
        h, loss = x.new_zeros(3, 4), 0
        for t in range(5):
            s = F.linear(x[t], Wx.T, b) + F.linear(h, Wh.T)
            h = s.tanh()
            loss = loss + (h * dout[t]).sum()
        return loss


class Gated:
    """A recurrence with one gate, h = g * h + (1 - g) * tanh(...): half a GRU."""

    def inputs(self, rng):
        weights = {name: rng.standard_normal((3, 3)) for name in ("Wg", "Wc", "Ug")}
        return {"x": rng.standard_normal((4, 5, 3)), **weights, "dout": rng.standard_normal((5, 3))}

    def manual(self, wrong, x, Wg, Wc, Ug, dout):
        h, kept = [np.zeros((5, 3))], []
        for step in x:
            g, c = sigmoid(step @ Wg + h[-1] @ Ug), np.tanh(step @ Wc)
            kept.append((g, c))
            h.append(g * h[-1] + (1 - g) * c)
        dWg, dWc, dUg, dh = np.zeros_like(Wg), np.zeros_like(Wc), np.zeros_like(Ug), dout
        for t in reversed(range(len(x))):
            g, c = kept[t]
            dg = dh * (h[t] if wrong == "candidate's part of the gate left out" else h[t] - c)
            if wrong == "sign of the candidate's part":
                dg = dh * (h[t] + c)
            dc = dh * (g if wrong == "g for 1 - g" else 1 - g)
            dsg = dg if wrong == "gate's derivative left out" else dg * g * (1 - g)
            dsc = dc if wrong == "candidate's derivative left out" else dc * (1 - c**2)
            dWg += x[t].T @ dsg
            dUg += h[t].T @ dsg
            dWc += x[t].T @ dsc
            carried = 0 if wrong == "carry left out" else dh * g
            dh = carried + (0 if wrong == "state's way into the gate left out" else dsg @ Ug.T)
        return {"Wg": dWg, "Ug": dUg, "Wc": dWc}

    def written(self, x, Wg, Wc, Ug, dout):
        h = torch.zeros(5, 3, dtype=x.dtype)
        for step in x:
            g = torch.sigmoid(step @ Wg + h @ Ug)
            c = torch.tanh(step @ Wc)
            h = g * h + (1 - g) * c
        return (h * dout).sum()


class Segments:
    """Running sums, added up by groups, and the largest feature of each group, which one group has twice."""

    def inputs(self, rng):
        x = rng.standard_normal((8, 4))
        x[:4, 1] = x[:4, 3] = np.abs(x[:4, 3]) + 2
        x[4:] *= 4
        return {"x": x, "group": np.array([3, 0, 3, 1, 0, 3, 2, 0]), "dout": rng.standard_normal(4)}

    def manual(self, wrong, x, group, dout):
        totals = np.zeros((4, 4))
        np.add.at(totals, group, x.cumsum(0))
        tied = totals == totals.max(1, keepdims=True)
        shares = tied / (1 if wrong == "whole gradient to each of a tie" else tied.sum(1, keepdims=True))
        ds = (dout[:, None] * shares + totals)[group]
        if wrong == "divided by the size of the group":
            ds = ds / np.bincount(group)[group][:, None]
        return {"x": ds.cumsum(0) if wrong == "running sum forwards again" else ds[::-1].cumsum(0)[::-1]}

    def fused(self, x, group, dout):
        s = torch.cumsum(x, 0)
        totals = torch.zeros(4, 4, dtype=x.dtype).index_add(0, group, s)
        return (totals.amax(1) * dout).sum() + (totals**2).sum() / 2


D, P, E = "derivative", "path", "derivative|path"
H = r"tanh in line \d+, h ="

MISTAKES = (
    Mistake(Tied, "output use left out", P, r"linear in line \d+, logits", r"matmul in line \d+, logits"),
    Mistake(Tied, "input use left out", P, r"embedding in line", r"indexing in line \d+, e ="),
    Mistake(Tied, "tokens overwritten", D, r"embedding in line", r"indexing in line \d+, e ="),
    Mistake(Tied, "tokens averaged", D, r"embedding in line", r"indexing in line \d+, e ="),
    Mistake(Tied, "output use twice", P, r"linear in line \d+, logits", r"matmul in line \d+, logits"),
    Mistake(RNN, "only the last output", P, r"line \d+, (loss|h|s) =", r"line \d+, (states|return)"),
    Mistake(RNN, "only the first output", P, r"line \d+, (loss|h|s) =", r"line \d+, (states|return)"),
    Mistake(RNN, "weights overwritten", P, r"line \d+, s =", r"line \d+, h ="),
    Mistake(RNN, "future overwritten", P, r"line \d+, s = ", r"matmul in line \d+, h ="),
    Mistake(RNN, "derivative left out", D, r"tanh in line \d+, h = s", H),
    Mistake(RNN, "derivative of the state before", D, r"tanh in line \d+, h = s", H),
    Mistake(RNN, "tanh for its derivative", D, r"tanh in line \d+, h = s", H),
    Mistake(RNN, "state of the same step", D, r"linear in line \d+, s =", r"matmul in line \d+, h ="),
    Mistake(RNN, "weights of the last step alone", P, r"linear in line \d+, s =", r"matmul in line \d+, h ="),
    Mistake(RNN, "weight not transposed", D, r"linear in line \d+, s =", r"matmul in line \d+, h ="),
    Mistake(RNN, "through the input's weight", D, r"linear in line \d+, s =", r"matmul in line \d+, h ="),
    Mistake(Gated, "candidate's part of the gate left out", P, "", r"line \d+, h = g \* h"),
    Mistake(Gated, "sign of the candidate's part", E, "", r"line \d+, h = g \* h"),
    Mistake(Gated, "g for 1 - g", D, "", r"line \d+, h = g \* h"),
    Mistake(Gated, "gate's derivative left out", D, "", r"sigmoid in line \d+, g ="),
    Mistake(Gated, "candidate's derivative left out", D, "", r"tanh in line \d+, c ="),
    Mistake(Gated, "carry left out", P, "", r"mul in line \d+, h ="),
    Mistake(Gated, "state's way into the gate left out", P, "", r"matmul in line \d+, g ="),
    Mistake(Segments, "whole gradient to each of a tie", D, r"amax in line \d+, return"),
    Mistake(Segments, "divided by the size of the group", D, r"index_add in line \d+, totals ="),
    Mistake(Segments, "running sum forwards again", D, r"cumsum in line \d+, s ="),
)
