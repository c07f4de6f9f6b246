"""Arrays of the user's own, images or any other features, as examples."""

import math

import numpy as np
from numpy.typing import ArrayLike

from manual_backprop.data.examples import Examples


def own_examples(images: ArrayLike, labels: ArrayLike) -> Examples:
    """Return features and labels as examples; see `Dataset.from_arrays`.

    Raises
    ------
    ValueError
        If an array has another shape, or holds something else.
    """
    features, classes = np.asarray(images), np.asarray(labels)
    shape = features.shape[:3] if features.ndim == 4 and features.shape[3] == 1 else features.shape
    if len(shape) not in (2, 3) or 0 in shape:
        raise ValueError(f"images: expected (N, F) or (N, height, width), none of them 0, got {features.shape}")
    if features.dtype.kind not in "buif":
        raise ValueError(f"images: expected numbers, got {features.dtype}")
    rows = features.reshape(shape[0], -1)
    if rows.dtype.kind != "f" and rows.dtype != np.uint8:
        rows = rows.astype(np.float64)
    if not np.isfinite(rows).all():
        raise ValueError("images: expected finite numbers, got NaN or infinity")
    if classes.shape != shape[:1] or classes.dtype.kind not in "iu":
        raise ValueError(f"labels: expected integers ({shape[0]},), got {classes.dtype} {classes.shape}")
    if classes.min() < 0 or classes.max() >= shape[0]:
        wrong = classes.min() if classes.min() < 0 else classes.max()
        raise ValueError(f"labels: expected classes counted from 0, fewer than examples, got {wrong}")
    names = tuple(str(number) for number in range(max(2, int(classes.max()) + 1)))
    side = math.isqrt(rows.shape[1])
    image_shape: tuple[int, int] | None = None
    if len(shape) == 3:
        image_shape = shape[1:]
    elif rows.dtype == np.uint8 and side * side == rows.shape[1]:
        image_shape = side, side
    return Examples(rows, classes.astype(np.int64), f"own arrays ({shape[0]:,} examples)", names, image_shape)
