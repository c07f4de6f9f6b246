"""Mistakes that people make in hand-derived gradients, each with the code that the check must give it.

A row of `FAULTS` names the layer, the gradient that goes wrong and how: either a change of the right gradient, called
with the gradient and the inputs, or attributes of the layer that make its derivation wrong.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import checked_layers as layers
import numpy as np

Change = Callable[[Any, Mapping[str, Any]], Any]


@dataclass(frozen=True)
class Fault:
    """One planted mistake.

    Attributes
    ----------
    code : str
        What the check must call it.
    layer : type
        One of `checked_layers`.
    gradient : str
        The gradient that must get the code.
    title : str
        The mistake in words.
    change : callable, optional
        What becomes of the right gradient.
    attributes : dict
        What is different in the layer.
    """

    code: str
    layer: type
    gradient: str
    title: str
    change: Change | None = None
    attributes: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.code}-{self.layer.__name__}-{self.gradient}-{self.title}".replace(" ", "_")

    def build(self) -> Any:
        """Return the layer with the mistake in it."""
        layer = type(self.layer.__name__, (self.layer,), self.attributes)()
        if self.change is None:
            return layer
        right, change, name = layer.manual, self.change, self.gradient

        def manual(**inputs: Any) -> dict[str, Any]:
            gradients = right(**inputs)
            return {**gradients, name: change(gradients[name], inputs)}

        layer.manual = manual
        return layer


def set_rows(rows: Any, value: float) -> Change:
    def change(gradient: Any, _: Any) -> Any:
        changed = gradient.copy()
        changed[rows] = value * changed[rows]
        return changed

    return change


def low(dtype: Any) -> Change:
    return lambda gradient, _: gradient.astype(dtype).astype(gradient.dtype)


def one_entry(relative: float) -> Change:
    def change(gradient: Any, _: Any) -> Any:
        changed = gradient.copy()
        index = np.unravel_index(np.argsort(np.abs(changed), axis=None)[changed.size // 2], changed.shape)
        changed[index] *= 1 + relative
        return changed

    return change


def in_lower_precision(layer: Any, dtype: Any) -> dict[str, Any]:
    """Compute everything in a lower precision inside, and return the inputs' own."""

    def manual(self: Any, **inputs: Any) -> dict[str, Any]:
        lower = {name: value.astype(dtype) if value.dtype.kind == "f" else value for name, value in inputs.items()}
        original = next(value.dtype for value in inputs.values() if value.dtype.kind == "f")
        return {name: np.asarray(value).astype(original) for name, value in layer.manual(self, **lower).items()}

    return {"manual": manual}


def by_differences(layer: Any, name: str, step: float, central: bool) -> dict[str, Any]:
    """Take finite differences of the loss, computed by the reference."""
    import torch

    def manual(self: Any, **inputs: Any) -> dict[str, Any]:
        def loss(values: Any) -> float:
            tensors = {other: torch.from_numpy(np.array(value)) for other, value in {**inputs, name: values}.items()}
            return float(self.reference(**tensors))

        gradient = np.zeros_like(inputs[name])
        for index in np.ndindex(gradient.shape):
            above, below = inputs[name].copy(), inputs[name].copy()
            above[index] += step
            if central:
                below[index] -= step
            gradient[index] = (loss(above) - loss(below)) / (2 * step if central else step)
        return {**layer.manual(self, **inputs), name: gradient}

    return {"manual": manual}


def overwrites(layer: Any, name: str) -> dict[str, Any]:
    def manual(self: Any, **inputs: Any) -> dict[str, Any]:
        gradients = layer.manual(self, **inputs)
        inputs[name] *= 0.5
        return gradients  # type: ignore[no-any-return]

    return {"manual": manual}


def remembers(layer: Any) -> dict[str, Any]:
    def manual(self: Any, **inputs: Any) -> dict[str, Any]:
        found = layer.manual(self, **inputs)
        self.total = {name: value + self.total.get(name, 0) for name, value in found.items()}
        return dict(self.total)

    return {"manual": manual, "total": {}}


def draws(layer: Any, name: str) -> dict[str, Any]:
    generator = np.random.default_rng(0)

    def manual(self: Any, **inputs: Any) -> dict[str, Any]:
        gradients = layer.manual(self, **inputs)
        kept = generator.random(gradients[name].shape) < 0.9
        return {**gradients, name: gradients[name] * kept / 0.9}

    return {"manual": manual}


D, E, S = layers.Dense, layers.Decay, layers.SquaredError
SQUARE = {"size": (12, 7, 7, 5)}

FAULTS = (
    # scale
    Fault("scale", D, "weight1", "mean over the batch missing", attributes={"average": False}),
    Fault("scale", D, "bias2", "mean taken twice", lambda g, i: g / 12),
    Fault("scale", S, "x", "mean over outputs missing too", lambda g, i: g * 3),
    Fault("scale", layers.Attention, "query", "sqrt(d) missing", attributes={"rescaled": False}),
    Fault("scale", layers.Attention, "key", "1/d for 1/sqrt(d)", lambda g, i: g / np.sqrt(6)),
    Fault("scale", layers.Temperature, "logits", "temperature missing", lambda g, i: g * i["temperature"]),
    Fault("scale", layers.Convolution, "bias", "mean over the image", lambda g, i: g / 20),
    Fault("scale", layers.BatchNorm, "gain", "twice", lambda g, i: 2 * g),
    Fault("scale", layers.LayerNorm, "x", "width missing", lambda g, i: 8 * g),
    Fault("scale", S, "strength", "twice", lambda g, i: 2 * g),
    Fault("scale", layers.Recurrent, "across", "wrong sign and halved", lambda g, i: -0.5 * g),
    Fault("scale", layers.Hinge, "weight", "sum for mean", lambda g, i: g * 8),
    # sign
    Fault("sign", D, "weight2", "target minus prediction", lambda g, i: -g),
    Fault("sign", S, "targets", "sign of the target forgotten", lambda g, i: -g),
    Fault("sign", layers.Temperature, "temperature", "sign", lambda g, i: -g),
    Fault("sign", layers.Embedding, "table", "ascent", lambda g, i: -g),
    Fault("sign", layers.LayerNorm, "gain", "sign", lambda g, i: -g),
    # transpose
    Fault("transpose", D, "weight1", "square weight", lambda g, i: g.T, SQUARE),
    Fault("transpose", D, "weight2", "(out, in)", lambda g, i: g.T),
    Fault("transpose", layers.Recurrent, "across", "square", lambda g, i: g.T.copy()),
    Fault("transpose", layers.Solve, "matrix", "outer product the other way", lambda g, i: g.T),
    Fault("transpose", layers.Convolution, "kernel", "rows and columns", lambda g, i: g.swapaxes(2, 3)),
    Fault("transpose", layers.Attention, "value", "time and width", lambda g, i: g.swapaxes(1, 2)),
    # permutation
    Fault("permutation", layers.Convolution, "kernel", "convolution for correlation", lambda g, i: g[:, :, ::-1, ::-1]),
    Fault("permutation", layers.Recurrent, "x", "time reversed", lambda g, i: g[::-1]),
    Fault("permutation", layers.Recurrent, "into", "gates swapped", lambda g, i: np.roll(g, 2, axis=1)),
    Fault("permutation", layers.Attention, "key", "shifted by one step", lambda g, i: np.roll(g, 1, axis=1)),
    Fault("permutation", D, "bias2", "classes swapped", lambda g, i: g[[0, 2, 1, 3, 4]]),
    Fault("permutation", layers.Embedding, "table", "rows off by one", lambda g, i: np.roll(g, 1, axis=0)),
    Fault("permutation", layers.Recurrent, "x", "shifted, zeros moved in", lambda g, i: np.concatenate([g[1:], 0 * g[:1]])),
    Fault("permutation", layers.Convolution, "x", "reshaped for transposed", lambda g, i: g.transpose(0, 1, 3, 2).reshape(g.shape)),
    # shape
    Fault("shape", D, "bias1", "keepdims", lambda g, i: g[None]),
    Fault("shape", layers.BatchNorm, "shift", "column", lambda g, i: g[:, None]),
    Fault("shape", layers.Convolution, "kernel", "flattened", lambda g, i: g.ravel()),
    Fault("shape", S, "strength", "(1,) for ()", lambda g, i: np.reshape(g, (1,))),
    Fault("shape", layers.LayerNorm, "gain", "(1, 1, D)", lambda g, i: g[None, None]),
    Fault("shape", layers.Embedding, "table", "flattened", lambda g, i: g.reshape(-1)),
    # unreduced
    Fault("unreduced", layers.BatchNorm, "shift", "batch sum forgotten", lambda g, i: i["dout"]),
    Fault("unreduced", layers.LayerNorm, "shift", "summed over one axis only", lambda g, i: i["dout"].sum(axis=0)),
    Fault("unreduced", layers.Convolution, "bias", "image not summed", lambda g, i: i["dout"].sum(axis=0)),
    Fault("unreduced", layers.Convolution, "bias", "nothing summed", lambda g, i: i["dout"]),
    Fault("unreduced", S, "strength", "one for each entry", lambda g, i: 0.5 * i["weight"] ** 2),
    # term
    Fault("term", E, "weight1", "weight decay missing", attributes={"decay": 0.0}),
    Fault("term", D, "weight2", "weight decay extra", attributes={"decay": 0.01}),
    Fault("term", E, "weight2", "weight decay twice", attributes={"decay": 0.02}),
    Fault("term", E, "weight1", "weight decay of the wrong sign", attributes={"decay": -0.01}),
    Fault("term", D, "bias1", "bias decayed", lambda g, i: g + 0.001 * i["bias1"]),
    Fault("term", S, "weight", "penalty missing", lambda g, i: g - i["strength"] * i["weight"]),
    Fault("term", layers.Embedding, "table", "L1 penalty extra", lambda g, i: g + 0.1 * np.sign(i["table"])),
    Fault("term", layers.Recurrent, "across", "decay of the recurrent weight", lambda g, i: g + 1e-4 * i["across"]),
    Fault("term", layers.Logistic, "logits", "target not subtracted", lambda g, i: g + i["targets"] / 40),
    # partial
    Fault("derivative", layers.Embedding, "table", "repeated tokens overwritten", attributes={"accumulate": False}),
    Fault("partial", D, "x", "last example left out", set_rows(-1, 0.0)),
    Fault("partial", D, "weight1", "first row twice", set_rows(0, 2.0)),
    Fault("path", layers.Recurrent, "x", "first step left out", attributes={"first_step": 1}),
    Fault("path", layers.Recurrent, "across", "truncated", attributes={"steps_back": 1}),
    Fault("partial", layers.Attention, "value", "one step masked", set_rows((slice(None), 3), 0.0)),
    Fault("partial", D, "weight2", "one entry", one_entry(1e-9)),
    Fault("partial", layers.BatchNorm, "x", "one row", set_rows(4, -1.0)),
    Fault("partial", layers.Absolute, "x", "slope 2 at zero", attributes={"slope_at_zero": 2.0}),
    Fault("partial", layers.Convolution, "kernel", "one channel left out", set_rows((slice(None), 1), 0.0)),
    # precision
    Fault("precision", D, "weight1", "float32 inside", attributes=in_lower_precision(D, np.float32)),
    Fault("precision", layers.BatchNorm, "x", "float32 inside", attributes=in_lower_precision(layers.BatchNorm, np.float32)),
    Fault("precision", layers.LayerNorm, "gain", "float16 inside", attributes=in_lower_precision(layers.LayerNorm, np.float16)),
    Fault("precision", D, "weight2", "returned as float32", lambda g, i: g.astype(np.float32)),
    Fault("precision", layers.Embedding, "table", "rounded to float32", low(np.float32)),
    Fault("precision", layers.Attention, "query", "rounded to float16", low(np.float16)),
    Fault("precision", layers.Temperature, "logits", "forward differences",
          attributes=by_differences(layers.Temperature, "logits", 1e-6, central=False)),
    Fault("precision", layers.BatchNorm, "x", "central differences",
          attributes=by_differences(layers.BatchNorm, "x", 1e-5, central=True)),
    # nonfinite
    Fault("nonfinite", D, "bias1", "0/0", lambda g, i: g / 0 * 0),
    Fault("nonfinite", layers.Logistic, "logits", "one overflow", lambda g, i: np.where(g == g.max(), np.inf, g)),
    Fault("nonfinite", layers.Attention, "query", "NaN from the mask", lambda g, i: np.where(np.arange(6) > 4, np.nan, g)),
    # side-effect
    Fault("side-effect", D, "weight1", "changes its input", attributes=overwrites(D, "x")),
    Fault("side-effect", layers.BatchNorm, "x", "changes its upstream gradient", attributes=overwrites(layers.BatchNorm, "dout")),
    Fault("side-effect", layers.Recurrent, "across", "adds up over calls", attributes=remembers(layers.Recurrent)),
    Fault("side-effect", layers.Attention, "value", "dropout without a seed", attributes=draws(layers.Attention, "value")),
    # zero
    Fault("zero", D, "bias2", "zeros", lambda g, i: 0 * g),
    Fault("zero", layers.Attention, "key", "never filled in", lambda g, i: np.zeros_like(g)),
    Fault("zero", S, "strength", "taken for a constant", lambda g, i: 0.0),
    Fault("zero", layers.Convolution, "x", "zeros", lambda g, i: np.zeros_like(g)),
    # mismatch
    Fault("mismatch", D, "weight1", "squared", lambda g, i: g * g),
    Fault("mismatch", layers.Attention, "query", "noise", lambda g, i: np.random.default_rng(3).standard_normal(g.shape)),
    Fault("derivative", D, "weight1", "ReLU mask forgotten", attributes={"masked": False}),
    Fault("path", layers.BatchNorm, "x", "mean not differentiated", attributes={"through_mean": False}),
    Fault("path", layers.BatchNorm, "x", "variance not differentiated", attributes={"through_variance": False}),
    Fault("derivative", layers.Attention, "query", "diagonal of the Jacobian only", attributes={"diagonal_only": True}),
    Fault("derivative", layers.Convolution, "x", "kernel flipped", attributes={"flip": True}),
    Fault("mismatch", layers.Convolution, "kernel", "last row of outputs left out", attributes={"last_row": False}),
    Fault("partial", layers.MaxPool, "x", "all of the tied maxima", attributes={"levels": 1, "share": "all"}),
)  # fmt: skip


def right(layer: type, **attributes: Any) -> Any:
    return type(layer.__name__, (layer,), attributes)()


# Near misses: all of these are right, or valid at a kink.
RIGHT = (
    *[right(layer) for layer in layers.RIGHT],
    right(D, size=(1, 7, 9, 5)),
    right(D, size=(3, 1, 1, 2)),
    right(D, scale=1e15),
    right(D, scale=1e-15),
    right(layers.LayerNorm, compact=True),
    right(layers.Logistic, scale=100.0),
    right(layers.Solve, condition=1e12),
    right(layers.MaxPool, levels=1),
    right(layers.MaxPool, levels=1, share="last"),
    right(layers.MaxPool, levels=1, share="even"),
    right(layers.Absolute, slope_at_zero=1.0),
    right(layers.Absolute, slope_at_zero=-0.5),
    right(layers.Hinge, quantised=True),
)
