"""The form of the tables: a layer with a backward pass by hand that takes the name of a mistake, and what is expected.

A layer has `inputs(rng)`, `manual(wrong, **inputs)` and one or several references, written with PyTorch's own function
(`fused`) and out by hand (`written`). The mistakes are those of forums, courses and issues: whoever meets a new one adds it.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Mistake:
    """One wrong derivation.

    Attributes
    ----------
    layer : type
        The layer.
    wrong : str
        What `manual` does wrong.
    code : str
        The code of the gradients that it makes wrong.
    fused, written : str
        Regular expressions that the explanation must match, for each reference; empty where there is none.
    """

    layer: Any
    wrong: str
    code: str
    fused: str = ""
    written: str = ""

    def __str__(self) -> str:
        return f"{self.layer.__name__}-{self.wrong}".replace(" ", "_")

    def cases(self) -> list[tuple[str, Any, Any, str]]:
        """Return for each reference its name, `manual`, the reference and what the explanation must match."""
        layer = self.layer()
        return [
            (name, partial(layer.manual, self.wrong), getattr(layer, name), pattern)
            for name, pattern in (("fused", self.fused), ("written", self.written))
            if pattern
        ]


def softmax(logits: Any, axis: int = -1) -> Any:
    """Return rows that sum to 1."""
    powers = np.exp(logits - logits.max(axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)


def softmax_backward(p: Any, dp: Any) -> Any:
    """Return the gradient of the logits."""
    return p * (dp - (dp * p).sum(axis=-1, keepdims=True))


def sigmoid(x: Any) -> Any:
    """Return 1 / (1 + exp(-x))."""
    return 1 / (1 + np.exp(-x))
