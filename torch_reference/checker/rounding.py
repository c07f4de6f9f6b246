"""How much disagreement rounding explains, entry by entry, for the very inputs at hand.

The reference is evaluated several times with a little random noise on the result of every operation of its forward and
backward pass (`RoundingNoise`). The scatter s of an entry of the gradient over these draws is the error that rounding
causes there: large for sums that nearly cancel and for ill-conditioned problems, zero for dead units. Two correct
gradients may differ by `FACTOR * s`, by the rounding of the result itself, and by what the format cannot represent.
"""

from collections.abc import Sequence, Set
from dataclasses import dataclass, replace

import numpy as np

from torch_reference.checker.allowance import Allowance
from torch_reference.checker.blocks import blocks
from torch_reference.checker.formats import FLOAT64
from torch_reference.checker.reference.alternatives import ExactSoftplus, NaiveSums
from torch_reference.checker.reference.decisions import Decision
from torch_reference.checker.reference.evaluation import Gradients, Reference
from torch_reference.checker.reference.modes import Watch
from torch_reference.checker.reference.operations import FUSED, SUMS_BY_RESULT
from torch_reference.checker.reference.ties import HoldDecisions, Recorder

# A plain check draws so many times: two where the evaluation is in the inputs' own float64, more where one entry's
# error must be told from float32 rounding. Among many entries a scatter that is small by chance is raised to that of
# its row or column after two draws as after one.
FEW, FEW_LIFTED, FEW_LARGE = 2, 4, 1


@dataclass(frozen=True)
class Effort:
    """How closely to look.

    Attributes
    ----------
    draws : int
        So many more draws of the scatter; None stands for the fewest.
    decompose : set of str
        Draw inside these fused operations too.
    alternatives : bool
        See what naive sums, an exact softplus and the inputs' own precision do to the gradient.
    """

    draws: int | None = None
    decompose: Set[str] = frozenset()
    alternatives: bool = False


FIRST = Effort()
CLOSER = (Effort(6, FUSED), Effort(16, FUSED), Effort(0, alternatives=True))
CLOSER_LARGE = (Effort(1, FUSED), Effort(4, FUSED), Effort(0, alternatives=True))


def closer(allowance: Allowance) -> Sequence[Effort]:
    """Return the efforts that a disagreement is worth, one after the other."""
    return CLOSER_LARGE if allowance.large else CLOSER


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
    few = FEW_LARGE if known.large else FEW_LIFTED if known.evaluated < known.epsilon else FEW
    decompose = effort.decompose or (FUSED - SUMS_BY_RESULT if known.large else effort.decompose)  # all that cancels
    known = _drawn(known, few if effort.draws is None else effort.draws, decompose)
    return _with_alternatives(known) if effort.alternatives else known


def with_decisions(allowance: Allowance, decisions: Sequence[Decision], number: int) -> Gradients:
    """Evaluate with noise, but with given decisions."""
    return allowance.reference.gradients(allowance.noise(number, FUSED), HoldDecisions(decisions))


def distance(gradients: Gradients, reference: Gradients) -> Gradients:
    """Return how far each entry is from the reference, in place; nothing where that is not finite."""
    with np.errstate(all="ignore"):
        for name, value in gradients.items():
            for rows in blocks(value):
                part = np.asarray(np.abs(value[rows] - reference[name][rows]))
                if not np.isfinite(part.sum()):
                    part[~np.isfinite(part)] = 0.0
                value[rows] = part
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
    return Allowance(reference, gradients, epsilon, evaluated, watch.decisions, watch.finite)


def _drawn(known: Allowance, number: int, decompose: Set[str]) -> Allowance:
    """Evaluate with noise, with all decisions as they were, and add what it does to the scatter."""
    moved = dict(known.moved)
    plain: Sequence[Decision] | None = None
    for draw in range(known.draws, known.draws + number):
        noise = known.noise(draw, decompose)
        gradients = known.reference.gradients(noise)
        if noise.decisions != known.decisions:
            plain = plain or _decisions(known)
            gradients = with_decisions(known, plain, draw)
        for name, change in distance(gradients, known.gradients).items():
            if name in moved:
                change += moved[name]  # a fresh array: in place
            moved[name] = change
    return replace(known, draws=known.draws + number, moved=moved)


def _decisions(known: Allowance) -> Sequence[Decision]:
    recorder = Recorder()
    known.reference.gradients(recorder)
    return recorder.decisions


def _with_alternatives(known: Allowance) -> Allowance:
    """Add what naive sums, an exact softplus and the inputs' own precision do."""
    extra = dict(known.extra)
    exact = ExactSoftplus()
    for modes in ((NaiveSums(),), (exact,), ()):
        if not modes and not exact.met:
            continue  # the same as before
        watch = Watch()
        try:
            gradients = known.reference.native().gradients(*modes, watch)
        except (RuntimeError, TypeError):  # the loss cannot be computed in the inputs' own precision
            continue
        if watch.decisions == known.decisions:
            for name, change in distance(gradients, known.gradients).items():
                extra[name] = np.maximum(extra.get(name, 0.0), change, out=change)
    return replace(known, extra=extra)
