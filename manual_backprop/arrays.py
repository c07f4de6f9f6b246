"""The types that every room speaks of, and what is done to arrays before any layer sees them."""

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

Array = NDArray[np.floating]
Targets = NDArray[np.integer] | Array

Rows = slice | NDArray[np.integer]
"""Which examples of a set; `slice(None)` for all."""

Keep = NDArray[np.bool_] | None
"""Which hidden units of each example are not dropped; None where nothing is dropped."""


def rows_in(rows: Rows, count: int) -> int:
    """Return how many examples of a set of `count` they are."""
    return len(range(count)[rows]) if isinstance(rows, slice) else len(rows)


def to_rows(x: ArrayLike, dtype: DTypeLike, out: Array | None = None) -> Array:
    """Return `x` in `dtype`, in `out` if there is anything to convert; uint8 pixels become numbers in [0, 1]."""
    x = np.asarray(x)
    if x.dtype == dtype:
        return x
    if x.dtype == np.uint8:
        return np.divide(x, 255, out=out, dtype=dtype)
    if out is None:
        return x.astype(dtype)
    np.copyto(out, x, casting="unsafe")
    return out


def shifted(logits: Array) -> Array:
    """Return logits - row maximum. A difference below the smallest number stays there: 0 · (-inf) would be NaN."""
    with np.errstate(over="ignore"):
        difference = logits - logits.max(axis=-1, keepdims=True)
    return np.maximum(difference, np.finfo(logits.dtype).min)
