"""Wrong gradients that no single wrong step of the derivation explains: no step must be named for any of them."""

import numpy as np

from wrong_derivations.attention import Attention
from wrong_derivations.dense import Softmax, Tanh, TwoLayers
from wrong_derivations.normalization import BatchNorm, LayerNorm


def _spoilt(layer, reference, name, change):
    """Return a case in which one right gradient is changed."""
    built = layer()

    def manual(**inputs):
        gradients = built.manual("", **inputs)
        return {**gradients, name: change(gradients[name], inputs)}

    return manual, getattr(built, reference), built.inputs


def _noise(gradient, _):
    return np.random.default_rng(1).standard_normal(gradient.shape)


def _rows(gradient, _):
    changed = gradient.copy()
    changed[0] *= 3
    changed[-1] -= 0.1
    return changed


CHANGES = {
    "noise": _noise,
    "sine": lambda g, i: np.sin(7 * g) + 0.3,
    "cube": lambda g, i: g**3 + g,
    "rows": _rows,
    "cosine of its place": lambda g, i: g + 0.01 * np.cos(np.arange(g.size)).reshape(g.shape),
}
PLACES = (
    (TwoLayers, "fused", "W1"),
    (TwoLayers, "written", "W2"),
    (Softmax, "fused", "W"),
    (Tanh, "fused", "W"),
    (BatchNorm, "fused", "x"),
    (LayerNorm, "written", "x"),
    (Attention, "written", "q"),
)

GARBAGE = tuple(
    (f"{layer.__name__}-{reference}-{name}-{title}", *_spoilt(layer, reference, name, change))
    for layer, reference, name in PLACES
    for title, change in CHANGES.items()
    if title != "rows" or layer is not LayerNorm
)
