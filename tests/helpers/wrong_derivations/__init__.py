"""Wrong derivations that people make, over many layers."""

from wrong_derivations import (
    attention,
    dense,
    gates,
    handwritten,
    handwritten_layers,
    losses,
    normalization,
    sequences,
    spatial,
    statistics,
)

MISTAKES = (
    *dense.MISTAKES,
    *normalization.MISTAKES,
    *attention.MISTAKES,
    *spatial.MISTAKES,
    *gates.MISTAKES,
    *sequences.MISTAKES,
    *losses.MISTAKES,
    *statistics.MISTAKES,
    *handwritten.MISTAKES,
    *handwritten_layers.MISTAKES,
)
