"""Least squares with bounds: the best mixture of some steps, each taken in part."""

import numpy as np

from torch_reference.checker.formats import Array

SMALL = 1e-14  # relative: a pull of this size is rounding


def bounded_least_squares(matrix: Array, target: Array) -> Array:
    """Return the x with entries from 0 to 1 for which matrix @ x is closest to the target.

    The active-set method of Stark and Parker (Bounded-variable least squares, 1995): variables leave their bound where
    that helps most, one at a time, and go back to the bound that they run into on the way to the free minimum.
    """
    x = np.zeros(matrix.shape[1])
    free = np.zeros(len(x), dtype=bool)
    length = np.linalg.norm(matrix, axis=0)
    for _ in range(3 * len(x)):
        pull = (target - matrix @ x) @ matrix / length
        pull = np.where(x > 0, np.minimum(pull, 0.0), np.maximum(pull, 0.0))  # inwards
        pull[free] = 0.0
        best = int(np.argmax(np.abs(pull)))
        if np.abs(pull[best]) <= SMALL * np.linalg.norm(target):
            break
        free[best] = True
        while free.any():
            fixed = matrix[:, ~free] @ x[~free]
            scaled, *_ = np.linalg.lstsq(matrix[:, free] / length[free], target - fixed, rcond=1e-13)
            way = scaled / length[free] - x[free]
            with np.errstate(divide="ignore", invalid="ignore"):
                room = np.where(way > 0, (1 - x[free]) / way, np.where(way < 0, -x[free] / way, np.inf))
            step = min(1.0, float(room.min()))
            moved = np.clip(x[free] + step * way, 0.0, 1.0)
            moved[room <= step] = np.round(moved[room <= step])
            x[free] = moved
            free[free] = (moved > 0) & (moved < 1)
            if step == 1.0:
                break
    return x
