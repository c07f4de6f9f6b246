"""How much disagreement rounding explains, entry by entry, for the very inputs at hand.

The reference is evaluated several times with a little random noise on the result of every operation of its forward and
backward pass (`perturbation.RoundingNoise`). The scatter s of an entry of the gradient over these draws is the error
that rounding causes there: large for sums that nearly cancel and for ill-conditioned problems, zero for dead units. Two
correct gradients may differ by `FACTOR * s`, by the rounding of the result itself, and by what the format cannot
represent.
"""

import math
from collections.abc import Iterator
from itertools import count
from typing import Any

import numpy as np

from torch_reference.checker.causes.case import Array
from torch_reference.checker.reference.alternatives import ExactSoftplus, NaiveSums
from torch_reference.checker.reference.decisions import Decision
from torch_reference.checker.reference.evaluation import Autograd, Gradients
from torch_reference.checker.reference.perturbation import RoundingNoise
from torch_reference.checker.reference.ties import HoldDecisions, Recorder, Tie, TieBreak, find_ties

# Errors of correct gradients, in units of the scatter: 0.5 in the mean square, below 4 in any entry with a well
# measured s (docs/crosscheck.md has the histogram). They are sums of many roundings, so eight is far out in a Gaussian
# tail.
EPSILON = float(np.finfo(np.float64).eps)
FACTOR = 8.0
GAUSSIAN = 1.25  # standard deviation over mean absolute deviation; the mean of absolute values cannot underflow
# A plain check draws so many times: two where the evaluation is in the inputs' own float64, more where one entry's
# error must be told from float32 rounding. One that finds a disagreement draws more.
FEW, FEW_LIFTED, MORE = 2, 4, (6, 16)
TIED = 4  # draws on each side of a kink
# Of n scatters from k draws the smallest is about n^(1/k) times too small by chance. So much, at most, scatters are
# raised towards that of their row and column: small entries beside large ones keep a small allowance.
# Noise for inputs of lower precision than the evaluation: so small that the response is linear and no decision flips.
LINEAR = 2.0**-36
# Noise where the evaluation has no spare digits: eight units in the last place, so that its own rounding is a small
# part.
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
        Machine epsilon that the gradient under test is held to: that of the coarsest floating input, or of the
        reference where that computes in a lower precision.
    """

    def __init__(self, autograd: Autograd, seed: int) -> None:
        self.autograd = autograd
        self._seeds = count(seed * 1000 + 1)
        self.reference, watch = self._plain()
        self._decisions, self._finite = watch.decisions, watch.finite
        self._evaluated = evaluated = watch.coarsest or EPSILON
        self.epsilon = max(float(np.finfo(autograd.coarsest).eps), evaluated, EPSILON)
        self.amplitude = LINEAR if evaluated < self.epsilon else ULPS * evaluated
        self._factor = FACTOR if evaluated < self.epsilon else FACTOR * math.sqrt(2)  # both sides round, or only one
        self._moved = {name: np.zeros(value.shape) for name, value in self.reference.items()}
        self._draws = 0
        self._extra: Gradients = {}
        self._recorded: Recorder | None = None
        self._few = FEW_LIFTED if evaluated < self.epsilon else FEW
        self.draw(self._few)

    def _plain(self) -> tuple[Gradients, RoundingNoise]:
        watch = RoundingNoise(0.0, 0, finite=True)
        if self.autograd.coarsest.itemsize < 8:
            try:
                return self.autograd.gradients(watch), watch
            except Exception:  # it holds tensors of a lower precision: two precisions do not multiply
                self.autograd.lifted = False
                watch = RoundingNoise(0.0, 0, finite=True)
        return self.autograd.gradients(watch), watch

    def draw(self, number: int, decompose: bool = False) -> None:
        """Evaluate the reference with noise, with all decisions as they were, and add what it does to the scatter."""
        for _ in range(number):
            noise = RoundingNoise(self.amplitude, next(self._seeds), self._finite, decompose)
            gradients = self.autograd.gradients(noise)
            if noise.decisions != self._decisions:
                gradients = self._noisy(self._plain_decisions())
            for name, moved in _distance(gradients, self.reference).items():
                self._moved[name] += moved
            self._draws += 1

    def _plain_decisions(self) -> list[Decision]:
        if self._recorded is None:
            recorder = Recorder()
            self.autograd.gradients(recorder)
            self._recorded = recorder
        return self._recorded.decisions

    def _noisy(self, plain: list[Decision]) -> Gradients:
        """Evaluate with noise but with given decisions."""
        noise = RoundingNoise(self.amplitude, next(self._seeds), decompose=True)
        return self.autograd.gradients(noise, HoldDecisions(plain))

    def closer_looks(self) -> Iterator[None]:
        """Measure more and more; stop as soon as no disagreement is left.

        First the scatter, with more draws and inside fused operations too. Then what naive sums, an exact softplus and
        the inputs' own precision do to the gradient.
        """
        for number in MORE:
            self.draw(number, decompose=True)
            yield
        for modes in ((NaiveSums(),), (ExactSoftplus(),), ()):
            watch = RoundingNoise(0.0, 0)
            try:
                gradients = self.autograd.gradients(*modes, watch, native=True)
            except (RuntimeError, TypeError):  # the loss cannot be computed in the inputs' own precision
                continue
            if watch.decisions == self._decisions:
                for name, moved in _distance(gradients, self.reference).items():
                    self._extra[name] = np.maximum(self._extra.get(name, 0.0), moved)
        yield

    def allowed(self, name: str, epsilon: float | None = None) -> Array:
        """Return the largest difference that rounding explains, for each entry of a gradient.

        Parameters
        ----------
        name : str
            Which gradient.
        epsilon : float, optional
            Machine epsilon of another precision than the inputs'.
        """
        bound = self._bound(self._moved[name], self._draws, self.reference[name], epsilon or self.epsilon)
        if name in self._extra:
            bound += ORDERS * self._extra[name]
        return bound

    def _bound(self, moved: Array, draws: int, value: Array, epsilon: float) -> Array:
        """Return the allowance for entries that moved so much under noise. Large arrays: few passes, in place."""
        with np.errstate(all="ignore"):
            rounded = np.abs(value)
            bound = _raised(moved + self._evaluated * rounded, draws)  # the noise itself is seen in whole units
            bound *= self._factor * GAUSSIAN / draws / self.amplitude * epsilon / 2
            rounded *= FINAL * epsilon / 2
            bound += rounded
            bound += FINAL * _spacing(epsilon)
        return bound

    def with_ties(self, ties: list[Tie]) -> tuple[Gradients, Gradients]:
        """Return the gradients where ties go the other way, and the differences from them that rounding explains.

        Rounding moves what lies on a kink a little to its side, and that changes more than the decision.
        """
        recorder = Recorder()
        limit = self.autograd.gradients(recorder, TieBreak(ties))
        scatter = {name: np.zeros(value.shape) for name, value in limit.items()}
        for _ in range(TIED):
            for name, moved in _distance(self._noisy(recorder.decisions), limit).items():
                scatter[name] += moved
        aside = _distance(self.autograd.gradients(TieBreak(ties, far=True)), limit)
        return limit, {
            name: self._bound(moved, TIED, limit[name], self.epsilon) + aside[name] for name, moved in scatter.items()
        }

    def ties(self) -> list[Tie]:
        """Return the decisions of the reference that rounding could have taken the other way."""
        recorders = [Recorder() for _ in range(TIED)]
        for recorder in recorders:
            self.autograd.gradients(RoundingNoise(self.amplitude, next(self._seeds)), recorder)
        plain = Recorder()
        self.autograd.gradients(plain)
        noisy = [recorder.decisions for recorder in recorders]
        return find_ties(plain, noisy, self._factor * GAUSSIAN * self.epsilon / 2 / self.amplitude)


def _distance(gradients: Gradients, reference: Gradients) -> Gradients:
    """Return how far each entry is from the reference, in place; nothing where that is not finite."""
    with np.errstate(all="ignore"):
        for name, value in gradients.items():
            np.abs(np.subtract(value, reference[name], out=value), out=value)
            if not np.isfinite(value.max(initial=0.0)):
                value[~np.isfinite(value)] = 0.0
    return gradients


def _spacing(epsilon: float) -> float:
    """Return the distance of the smallest numbers that a format of this precision has."""
    return float(
        np.finfo(next(t for t in (np.float16, np.float32, np.float64) if np.finfo(t).eps <= epsilon)).smallest_subnormal
    )


def _raised(scatter: Array, draws: int) -> Array:
    """Raise scatters that are small by chance towards those of their row and column."""
    if scatter.size < 2:
        return scatter.copy()
    pooled: Any = np.inf
    for axis in range(scatter.ndim):
        others = tuple(other for other in range(scatter.ndim) if other != axis) or None
        pooled = np.minimum(pooled, np.mean(scatter, axis=others, keepdims=True))
    raised = scatter.size ** (1 / draws) * scatter
    np.minimum(raised, pooled, out=raised)
    return np.maximum(raised, scatter, out=raised)
