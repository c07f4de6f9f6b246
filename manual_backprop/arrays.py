"""The types that every room speaks of, and what is done to arrays before any layer sees them."""

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

Array = NDArray[np.floating]
Targets = NDArray[np.integer] | Array


def to_rows(x: ArrayLike, dtype: DTypeLike) -> Array:
    """Return ``x`` in ``dtype``; uint8 pixels become numbers in [0, 1]."""
    x = np.asarray(x)
    if x.dtype == np.uint8:
        return np.divide(x, 255, dtype=dtype)
    return x.astype(dtype, copy=False)


def shifted(logits: Array) -> Array:
    """Return logits - row maximum. A difference below the smallest number stays there: 0 · (-inf) would be NaN."""
    with np.errstate(over="ignore"):
        difference = logits - logits.max(axis=-1, keepdims=True)
    return np.maximum(difference, np.finfo(logits.dtype).min)
