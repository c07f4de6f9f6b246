"""What two correct gradients may differ by, given how far noise has moved each entry."""

import math
from collections.abc import Set
from dataclasses import dataclass, field

import numpy as np

from torch_reference.checker.blocks import blocks, empty
from torch_reference.checker.formats import Array, coarsest_within
from torch_reference.checker.reference.evaluation import Gradients, Reference
from torch_reference.checker.reference.noise import RoundingNoise

# Errors of correct gradients, in units of the scatter: 0.5 in the mean square, below 4 in any entry with a well
# measured s. They are sums of many roundings, so eight is far out in a Gaussian tail.
FACTOR = 8.0
GAUSSIAN = 1.25  # standard deviation over mean absolute deviation; the mean of absolute values cannot underflow
# Noise for inputs of lower precision than the evaluation: so small that the response is linear and no decision flips.
LINEAR = 2.0**-36
# Noise where the evaluation has no spare digits: eight units in the last place, so that its own rounding is a small
# part.
ULPS = 8
# What the last few operations round: the final division by N, a cast, a product with the upstream gradient.
FINAL = 4.0
# A naive sum's error depends on the order of its terms: twice what one order shows.
ORDERS = 2.0
# Entries from which every draw is dear: there two have to do, and a few more for a closer look.
LARGE = 2**19
UNLUCKY = 100  # one time in so many the smallest scatter is as many times smaller than usual
LEAST = 1e-300  # stands for the mean size of zeros


@dataclass(frozen=True, eq=False)
class Allowance:
    """How far two correct gradients may differ at one point.

    Attributes
    ----------
    reference : Reference
        The loss, in the precision in which it can be evaluated.
    gradients : dict of str to float64 array
        Autograd's.
    epsilon : float
        Machine epsilon that the gradient under test is held to: that of the coarsest floating input, or of the
        reference where that computes in a lower precision.
    evaluated : float
        Machine epsilon of the evaluation.
    decisions : int
        Checksum of the decisions that the plain evaluation takes; 0 where it takes none.
    finite : bool
        Whether it meets no infinity or NaN.
    draws : int
        How often the scatter was drawn.
    moved : dict of str to float64 array
        How far each entry moved, the sum of all draws.
    extra : dict of str to float64 array
        How far other ways to compute the loss move each entry.
    """

    reference: Reference
    gradients: Gradients
    epsilon: float
    evaluated: float
    decisions: int
    finite: bool
    draws: int = 0
    moved: Gradients = field(default_factory=dict)
    extra: Gradients = field(default_factory=dict)

    @property
    def large(self) -> bool:
        """Whether every draw is dear."""
        return sum(value.size for value in self.gradients.values()) >= LARGE

    @property
    def amplitude(self) -> float:
        """Relative size of the noise."""
        return LINEAR if self.evaluated < self.epsilon else ULPS * self.evaluated

    @property
    def factor(self) -> float:
        """How many times the scatter two correct gradients may differ: both sides round, or only one."""
        return FACTOR if self.evaluated < self.epsilon else FACTOR * math.sqrt(2)

    @property
    def per_move(self) -> float:
        """What rounding may do, in units of what noise does on average."""
        return self.factor * GAUSSIAN * self.epsilon / 2 / self.amplitude

    def noise(self, number: int, decompose: Set[str] = frozenset()) -> RoundingNoise:
        """Return the noise with one of the seeds from 0 to 999, in every step of some fused operations too."""
        return RoundingNoise(self.amplitude, self.reference.seed * 1000 + 1 + number, self.finite, decompose)

    def allowed(self, name: str, epsilon: float | None = None) -> Array:
        """Return the largest difference that rounding explains, for each entry of a gradient.

        Parameters
        ----------
        name : str
            Which gradient.
        epsilon : float, optional
            Machine epsilon of another precision than the inputs'.
        """
        limit = bound(self, self.moved[name], self.draws, self.gradients[name], epsilon or self.epsilon)
        for rows in blocks(limit) if name in self.extra else ():
            limit[rows] += ORDERS * self.extra[name][rows]
        return limit


def bound(allowance: Allowance, moved: Array, draws: int, value: Array, epsilon: float) -> Array:
    """Return the allowance of entries that moved so much under noise."""
    per_move = allowance.factor * GAUSSIAN / draws / allowance.amplitude * epsilon / 2
    limit = empty(value.shape)
    with np.errstate(all="ignore"):
        for rows in blocks(limit):
            sizes = np.abs(value[rows])
            limit[rows] = moved[rows] + allowance.evaluated * sizes  # the noise itself is seen in whole units
        raised(limit, draws, value if allowance.large else None)
        for rows in blocks(limit):
            sizes = np.abs(value[rows])
            limit[rows] *= per_move
            limit[rows] += FINAL * epsilon / 2 * sizes + FINAL * coarsest_within(epsilon).spacing
    return limit


def raised(scatter: Array, draws: int, values: Array | None = None) -> Array:
    """Raise scatters that are small by chance towards the mean of their row and column, in place.

    Of n scatters from k draws the smallest is about n^(1/k) times too small by chance. So much they are raised, at
    most: small entries beside large ones keep a small allowance. Where the entries are given, after few draws of many,
    bad luck counts, and large ones beside small ones are raised in proportion.
    """
    if scatter.size < 2:
        return scatter
    luck = (scatter.size * (1 if values is None else UNLUCKY)) ** (1 / draws)
    pools, sizes = _means(scatter), [] if values is None else _means(values)
    for rows in blocks(scatter):
        higher = luck * scatter[rows]
        for number, pool in enumerate(pools):
            own = rows if len(pool) > 1 else ...
            limit = pool[own]
            if values is not None:
                limit = limit * np.maximum(np.abs(values[rows]) / np.maximum(sizes[number][own], LEAST), 1)
            np.minimum(higher, limit, out=higher)
        np.maximum(higher, scatter[rows], out=scatter[rows])
    return scatter


def _means(array: Array) -> list[Array]:
    """Return for each axis the mean size of the entries at each of its indices; of all where there is one axis."""
    if array.ndim == 1:
        return [np.abs(array).mean(keepdims=True)]
    others = tuple(range(1, array.ndim))
    first, total = np.empty((len(array), *[1] * len(others))), np.zeros((1, *array.shape[1:]))
    for rows in blocks(array):
        sizes = np.abs(array[rows])
        first[rows] = sizes.mean(axis=others, keepdims=True)
        total += sizes.sum(axis=0)
    total /= len(array)
    return [first, *(total.mean(axis=tuple(set(others) - {axis}), keepdims=True) for axis in others)]
