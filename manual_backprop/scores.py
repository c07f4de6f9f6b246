"""How well a network does on some examples: sums while they are counted, means once all are."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from manual_backprop.arrays import Array


class Score(NamedTuple):
    """Mean loss and accuracy on a set; NaN for an empty one."""

    loss: float
    accuracy: float


class Sums(NamedTuple):
    """Sum of the losses, number of right classifications and number of examples of a part of a set."""

    loss: float
    correct: int
    examples: int


def count(losses: Array, logits: Array, labels: NDArray[np.integer]) -> Sums:
    """Add up the losses (N,), in double precision at least, and count the right classifications."""
    total = float(losses.sum(dtype=np.promote_types(losses.dtype, np.float64)))
    return Sums(total, int((logits.argmax(axis=1) == labels).sum()), len(labels))


def mean_score(parts: Sequence[Sums]) -> Score:
    """Return the mean over all examples of the parts."""
    examples = sum(part.examples for part in parts)
    if examples == 0:
        return Score(math.nan, math.nan)
    return Score(math.fsum(part.loss for part in parts) / examples, sum(part.correct for part in parts) / examples)
