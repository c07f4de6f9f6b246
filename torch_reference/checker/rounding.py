"""How much disagreement rounding explains, entry by entry, for the very inputs at hand.

The reference is evaluated several times with a little random noise on the result of every operation of its forward and
backward pass (`RoundingNoise`). The scatter s of an entry of the gradient over these draws is the error that rounding
causes there: large for sums that nearly cancel and for ill-conditioned problems, zero for dead units. Two correct
gradients may differ by `FACTOR * s`, by the rounding of the result itself, and by what the format cannot represent.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from torch_reference.checker.formats import FLOAT64, Array, coarsest_within
from torch_reference.checker.reference.alternatives import ExactSoftplus, NaiveSums
from torch_reference.checker.reference.decisions import Decision
from torch_reference.checker.reference.evaluation import Gradients, Reference
from torch_reference.checker.reference.noise import RoundingNoise
from torch_reference.checker.reference.ties import HoldDecisions, Recorder
from torch_reference.checker.reference.watch import Watch

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
# A plain check draws so many times: two where the evaluation is in the inputs' own float64, more where one entry's
# error must be told from float32 rounding.
FEW, FEW_LIFTED = 2, 4


@dataclass(frozen=True)
class Effort:
    """How closely to look.

    Attributes
    ----------
    draws : int
        So many more draws of the scatter; None stands for `FEW` or `FEW_LIFTED`.
    decompose : bool
        Draw inside fused operations too.
    alternatives : bool
        See what naive sums, an exact softplus and the inputs' own precision do to the gradient.
    """

    draws: int | None = None
    decompose: bool = False
    alternatives: bool = False


FIRST = Effort()
CLOSER = (Effort(6, decompose=True), Effort(16, decompose=True), Effort(0, alternatives=True))


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
        Checksum of the decisions that the plain evaluation takes.
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

    def noise(self, number: int, decompose: bool = False) -> RoundingNoise:
        """Return the noise with one of the seeds from 0 to 999."""
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
        if name in self.extra:
            limit += ORDERS * self.extra[name]
        return limit


def measure(reference: Reference, effort: Effort = FIRST, known: Allowance | None = None) -> Allowance:
    """Measure how far two correct gradients may differ.

    Parameters
    ----------
    reference : Reference
        The loss at the point in question.
    effort : Effort
        How closely to look.
    known : Allowance, optional
        What is known already, so that the draws add up.
    """
    known = known or _plain(reference)
    few = FEW_LIFTED if known.evaluated < known.epsilon else FEW
    known = _drawn(known, few if effort.draws is None else effort.draws, effort.decompose)
    return _with_alternatives(known) if effort.alternatives else known


def bound(allowance: Allowance, moved: Array, draws: int, value: Array, epsilon: float) -> Array:
    """Return the allowance of entries that moved so much under noise. Large arrays: few passes, in place."""
    with np.errstate(all="ignore"):
        rounded = np.abs(value)
        limit = raised(moved + allowance.evaluated * rounded, draws)  # the noise itself is seen in whole units
        limit *= allowance.factor * GAUSSIAN / draws / allowance.amplitude * epsilon / 2
        rounded *= FINAL * epsilon / 2
        limit += rounded
        limit += FINAL * coarsest_within(epsilon).spacing
    return limit


def with_decisions(allowance: Allowance, decisions: Sequence[Decision], number: int) -> Gradients:
    """Evaluate with noise, but with given decisions."""
    return allowance.reference.gradients(allowance.noise(number, decompose=True), HoldDecisions(decisions))


def distance(gradients: Gradients, reference: Gradients) -> Gradients:
    """Return how far each entry is from the reference, in place; nothing where that is not finite."""
    with np.errstate(all="ignore"):
        for name, value in gradients.items():
            np.abs(np.subtract(value, reference[name], out=value), out=value)
            if not np.isfinite(value.max(initial=0.0)):
                value[~np.isfinite(value)] = 0.0
    return gradients


def _plain(reference: Reference) -> Allowance:
    """Evaluate without noise: in float64, or in the inputs' precision where the loss refuses that.

    It does if it holds tensors of its own in a lower precision: two precisions do not multiply.
    """
    coarsest = reference.coarsest.epsilon
    watch = Watch()
    try:
        gradients = reference.gradients(watch)
    except Exception:
        if coarsest <= FLOAT64.epsilon:
            raise
        reference, watch = reference.native(), Watch()
        gradients = reference.gradients(watch)
    evaluated = watch.coarsest or FLOAT64.epsilon
    epsilon = max(coarsest, evaluated)
    moved = {name: np.zeros(value.shape) for name, value in gradients.items()}
    return Allowance(reference, gradients, epsilon, evaluated, watch.decisions, watch.finite, moved=moved)


def _drawn(known: Allowance, number: int, decompose: bool) -> Allowance:
    """Evaluate with noise, with all decisions as they were, and add what it does to the scatter."""
    moved = {name: value.copy() for name, value in known.moved.items()}
    plain: Sequence[Decision] | None = None
    for draw in range(known.draws, known.draws + number):
        noise = known.noise(draw, decompose)
        gradients = known.reference.gradients(noise)
        if noise.decisions != known.decisions:
            plain = plain or _decisions(known)
            gradients = with_decisions(known, plain, draw)
        for name, change in distance(gradients, known.gradients).items():
            moved[name] += change
    return replace(known, draws=known.draws + number, moved=moved)


def _decisions(known: Allowance) -> Sequence[Decision]:
    recorder = Recorder()
    known.reference.gradients(recorder)
    return recorder.decisions


def _with_alternatives(known: Allowance) -> Allowance:
    """Add what naive sums, an exact softplus and the inputs' own precision do."""
    extra = dict(known.extra)
    for modes in ((NaiveSums(),), (ExactSoftplus(),), ()):
        watch = Watch()
        try:
            gradients = known.reference.native().gradients(*modes, watch)
        except (RuntimeError, TypeError):  # the loss cannot be computed in the inputs' own precision
            continue
        if watch.decisions == known.decisions:
            for name, change in distance(gradients, known.gradients).items():
                extra[name] = np.maximum(extra.get(name, 0.0), change)
    return replace(known, extra=extra)


def raised(scatter: Array, draws: int) -> Array:
    """Raise scatters that are small by chance towards those of their row and column.

    Of n scatters from k draws the smallest is about n^(1/k) times too small by chance. So much they are raised, at
    most: small entries beside large ones keep a small allowance.
    """
    if scatter.size < 2:
        return scatter.copy()
    pooled: Any = np.inf
    for axis in range(scatter.ndim):
        others = tuple(other for other in range(scatter.ndim) if other != axis) or None
        pooled = np.minimum(pooled, np.mean(scatter, axis=others, keepdims=True))
    raised = scatter.size ** (1 / draws) * scatter
    np.minimum(raised, pooled, out=raised)
    return np.maximum(raised, scatter, out=raised)
