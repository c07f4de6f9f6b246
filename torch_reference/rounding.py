"""How much disagreement rounding explains, entry by entry, for the very inputs at hand.

The reference is evaluated several times with a little random noise on the result of every operation of its forward and
backward pass (`perturbation.RoundingNoise`). The scatter s of an entry of the gradient over these draws is the error that
rounding causes there: large for sums that nearly cancel and for ill-conditioned problems, zero for dead units. Two correct
gradients may differ by `FACTOR * s`, by the rounding of the result itself, and by what the format cannot represent.
"""

from itertools import count

import numpy as np

from torch_reference.case import Array
from torch_reference.decisions import Recorder, Tie, TieBreak, ties
from torch_reference.evaluation import Autograd, Gradients
from torch_reference.perturbation import NaiveSums, RoundingNoise

# Errors of correct gradients, in units of the scatter: 0.5 in the mean square, below 4 in any entry with a well measured s
# (docs/crosscheck.md has the histogram). They are sums of many roundings, so seven is far out in a Gaussian tail.
EPSILON = float(np.finfo(np.float64).eps)
FACTOR = 7.0
# A plain check draws four times, one that finds a disagreement twenty more times.
FEW, MANY = 4, 20
# With four draws one scatter in 10,000 comes out ten times too small by chance. It is raised to a quarter of that of its
# row and column, but never more than eightfold, so that small entries beside large ones keep a small allowance.
POOLED, RAISED = 0.25, 8.0
# Noise for inputs of lower precision than the evaluation: so small that the response is linear and no decision flips.
LINEAR = 2.0**-36
# Noise where the evaluation has no spare digits: eight units in the last place, so that its own rounding is a small part.
ULPS = 8
# What the last few operations round: the final division by N, a cast, a product with the upstream gradient.
FINAL = 4.0
# A naive sum's error depends on the order of its terms: twice what one order shows.
ORDERS = 2.0


class Rounding:
    """Measures how far two correct gradients may differ at one point.

    Parameters
    ----------
    autograd : Autograd
        Evaluates the reference.
    seed : int
        Seed of the noise.

    Attributes
    ----------
    reference : dict of str to float64 array
        Autograd's gradients.
    epsilon : float
        Machine epsilon that the gradient under test is held to: that of the coarsest floating input, or of the reference
        where that computes in a lower precision.
    """

    def __init__(self, autograd: Autograd, seed: int) -> None:
        self.autograd = autograd
        self._seeds = count(seed * 1000 + 1)
        self.reference, watch = self._plain()
        self._decisions = watch.decisions
        evaluated = watch.coarsest or EPSILON
        self.epsilon = max(float(np.finfo(autograd.native).eps), evaluated, EPSILON)
        self.amplitude = LINEAR if evaluated < self.epsilon else ULPS * evaluated
        self._square = {name: np.zeros(value.shape) for name, value in self.reference.items()}
        self._draws = 0
        self._extra = {name: np.zeros(value.shape) for name, value in self.reference.items()}
        self.draw(FEW)

    def _plain(self) -> tuple[Gradients, RoundingNoise]:
        watch = RoundingNoise(0.0, 0)
        if self.autograd.native != np.float64:
            try:
                return self.autograd.gradients(watch), watch
            except (RuntimeError, TypeError):  # it holds tensors of a lower precision: two precisions do not multiply
                self.autograd.stay_native()
                watch = RoundingNoise(0.0, 0)
        return self.autograd.gradients(watch), watch

    def draw(self, number: int) -> None:
        """Evaluate the reference with noise, and add to the scatter what does not come of a decision that flipped."""
        flipped = []
        for _ in range(number):
            noise = RoundingNoise(self.amplitude, next(self._seeds))
            gradients = self.autograd.gradients(noise)
            square = {name: (gradients[name] - self.reference[name]) ** 2 for name in gradients}
            if noise.decisions == self._decisions:
                self._add(square)
            else:
                flipped.append(square)
        for square in [] if self._draws else flipped[:1]:
            smallest = {name: np.minimum.reduce([other[name] for other in flipped]) for name in square}
            self._add(smallest)

    def _add(self, square: Gradients) -> None:
        for name, value in square.items():
            self._square[name] += np.nan_to_num(value, nan=0.0)
        self._draws += 1

    def look_closer(self) -> None:
        """Draw many times more, and see what naive sums and the inputs' own precision do to the gradient."""
        self.draw(MANY)
        for mode in (NaiveSums(), None):
            watch = RoundingNoise(0.0, 0)
            try:
                gradients = self.autograd.gradients(*[m for m in (mode, watch) if m], native=True)
            except (RuntimeError, TypeError):
                continue
            if watch.decisions == self._decisions:
                for name, value in gradients.items():
                    difference = np.nan_to_num(np.abs(value - self.reference[name]), nan=0.0)
                    self._extra[name] = np.maximum(self._extra[name], difference)

    def allowed(self, name: str, epsilon: float | None = None) -> Array:
        """Return the largest difference that rounding explains, for each entry of a gradient.

        Parameters
        ----------
        name : str
            Which gradient.
        epsilon : float, optional
            Machine epsilon of another precision than the inputs'.
        """
        square = self._square[name] / max(1, self._draws)
        return self._bound(square, self.reference[name], epsilon or self.epsilon) + ORDERS * self._extra[name]

    def _bound(self, square: Array, value: Array, epsilon: float) -> Array:
        with np.errstate(all="ignore"):
            scatter = _raised(np.sqrt(square)) / self.amplitude * (epsilon / 2)
            return FACTOR * scatter + FINAL * epsilon / 2 * np.abs(value) + FINAL * _spacing(epsilon)

    def with_ties(self, ties: list[Tie]) -> tuple[Gradients, Gradients]:
        """Return the gradients where ties go the other way, and the largest differences from them that rounding explains."""
        limit = self.autograd.gradients(TieBreak(ties))
        square = {name: np.zeros(value.shape) for name, value in limit.items()}
        for _ in range(FEW):
            noisy = self.autograd.gradients(RoundingNoise(self.amplitude, next(self._seeds)), TieBreak(ties))
            for name, value in noisy.items():
                square[name] += np.nan_to_num((value - limit[name]) ** 2, nan=0.0) / FEW
        return limit, {name: self._bound(value, limit[name], self.epsilon) for name, value in square.items()}

    def ties(self) -> list[Tie]:
        """Return the decisions of the reference that rounding could have taken the other way."""
        records = []
        for amplitude in (0.0, *[self.amplitude] * FEW):
            recorder = Recorder()
            self.autograd.gradients(recorder, RoundingNoise(amplitude, next(self._seeds)))
            records.append(recorder.decisions)
        return ties(records[0], records[1:], FACTOR * self.epsilon / 2 / self.amplitude)


def _spacing(epsilon: float) -> float:
    """Return the distance of the smallest numbers that a format of this precision has."""
    return float(
        np.finfo(next(t for t in (np.float16, np.float32, np.float64) if np.finfo(t).eps <= epsilon)).smallest_subnormal
    )


def _raised(scatter: Array) -> Array:
    """Raise scatters that are small by chance towards those of their row and column."""
    if scatter.size < 2:
        return scatter
    pooled = np.inf
    for axis in range(scatter.ndim):
        others = tuple(other for other in range(scatter.ndim) if other != axis)
        pooled = np.minimum(pooled, np.sqrt(np.mean(scatter**2, axis=others, keepdims=True)))
    return np.maximum(scatter, np.minimum(POOLED * pooled, RAISED * scatter))
