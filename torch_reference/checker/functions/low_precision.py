"""What a gradient in bfloat16 or float16 is held to.

Two budgets for each entry, with u half the epsilon of its own format:

- *fine*: float32 inside, and one rounding for each tensor that is stored. That is u |entry| for the gradient itself,
  and what the rounding of the outputs does where the backward pass reads them again (softmax keeps its output);
- *coarse*: what PyTorch's own operations in that precision do. They accumulate in float32 and round each result. The
  reference is evaluated in the inputs' own types, with each rounding taken up or down by chance.

Noise of bfloat16 on every operation, sums included, would be larger than either by the root of the number of terms.
Only the cause `precision` asks for that.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property, partial

import numpy as np

from torch_reference.checker.allowance import GAUSSIAN, Allowance, bound, raised
from torch_reference.checker.budget import Budget
from torch_reference.checker.case import Given, difference
from torch_reference.checker.formats import FLOAT32, Array, Format, coarser_than
from torch_reference.checker.functions.loss import Loss
from torch_reference.checker.reference.evaluation import Gradients, Reference
from torch_reference.checker.reference.precisions import ByChance, Cast
from torch_reference.checker.rounding import distance

STORED = 3  # draws of the rounding of the outputs
ONCE = 5.0  # errors of right results, in units of the scatter of one rounding by chance: a Gaussian's tail
NATIVE = 8  # draws of PyTorch's own operations
# The same for PyTorch's own operations, whose results round twice here, by themselves and by chance. Their true errors
# are 0.45 of this scatter in the mean square, and those of kernels that keep other tensors than the reference 0.7.
TWICE = 5.0
# The root of the mean square over a tensor, in the same units: many entries do not lie far out together.
TYPICAL, ENOUGH = 1.6, 8


class LowPrecision(Budget):
    """The two budgets at one point.

    Parameters
    ----------
    given : mapping of str to Given
        What is under test.
    reference : Reference
        What it is judged by.
    loss : Loss
        The function of the reference.
    """

    def __init__(self, given: Mapping[str, Given], reference: Reference, loss: Loss) -> None:
        self.given, self.reference, self.loss = given, reference, loss

    def allowed(self, allowance: Allowance, name: str) -> Array:
        """Return the fine budget if the gradient keeps to it, else the coarse one."""
        fine = self.fine(allowance, name)
        if self._keeps(allowance, name, fine):
            return fine
        scatter = self._coarse[name]
        coarse = np.maximum(fine, TWICE * scatter + self._last(allowance, name))
        return fine if self._keeps(allowance, name, coarse) and self._strays(allowance, name, scatter) else coarse

    def lower(self, allowance: Allowance, name: str) -> list[tuple[Format, Array]]:
        """Return what noise of low precision on every operation would explain."""
        formats = [each for each in coarser_than(FLOAT32.epsilon) if each.epsilon >= allowance.epsilon]
        return [(each, replace(allowance, extra={}).allowed(name, each.epsilon)) for each in formats]

    def fine(self, allowance: Allowance, name: str) -> Array:
        """Return what float32 inside and one rounding for each stored tensor explain.

        That is rounding to the nearest number, or for all entries towards zero: Triton's interpreter cuts bits off.
        """
        inside = bound(allowance, allowance.moved[name], allowance.draws, allowance.gradients[name], FLOAT32.epsilon)
        last = self._last(allowance, name)
        if self._keeps(allowance, name, inside + last):
            return inside + last
        fine = inside + ONCE * self._stored[name]
        right, given = allowance.gradients[name], self.given[name].values
        away = np.sign(right) * difference(given, right) if given.shape == right.shape else np.inf
        return fine + 2 * last if (away <= fine).all() else fine + last

    def is_fine(self, allowance: Allowance, name: str) -> bool:
        """Say whether a gradient keeps to the fine budget."""
        return self._keeps(allowance, name, self.fine(allowance, name))

    def coarseness(self, allowance: Allowance, name: str) -> float:
        """Return how many times larger the error is than that of the right entries, rounded once."""
        right, given = allowance.gradients[name], self.given[name]
        ideal = given.returned.rounded(right)
        error, least = (float(np.linalg.norm(difference(each, right))) for each in (given.values, ideal))
        return error / least if least else float("inf")

    def _last(self, allowance: Allowance, name: str) -> Array:
        """Return the rounding of a result itself, and what its format cannot represent."""
        of = self.given[name].returned
        return np.asarray(np.abs(allowance.gradients[name]) * of.epsilon / 2 + of.spacing / 2)

    def _keeps(self, allowance: Allowance, name: str, allowed: Array) -> bool:
        given, right = self.given[name].values, allowance.gradients[name]
        return given.shape == right.shape and bool((np.abs(difference(given, right)) <= allowed).all())

    def _strays(self, allowance: Allowance, name: str, scatter: Array) -> bool:
        """Say whether the entries lie farther out together than PyTorch's do."""
        error = np.abs(difference(self.given[name].values, allowance.gradients[name]))
        units = error[scatter > 0] / scatter[scatter > 0]
        return units.size >= ENOUGH and float(np.sqrt(np.mean(units**2))) > TYPICAL

    @cached_property
    def _stored(self) -> Gradients:
        """The scatter where the outputs are rounded in memory before the backward pass reads them."""
        plain = self.reference.gradients()
        draws = [replace(self.reference, pairs=partial(self.loss.pairs, seed)) for seed in range(STORED)]
        scatter = _scatter([draw.gradients() for draw in draws], plain)
        return scatter | {name: np.zeros_like(scatter[name]) for name in self.loss.upstream}  # `_last` has these

    @cached_property
    def _coarse(self) -> Gradients:
        """The scatter of PyTorch's own operations in the inputs' precision, whether or not the reference casts."""
        plain, native = self.reference.gradients(), self.reference.native()
        scatter = {name: np.zeros(value.shape) for name, value in plain.items()}
        for casts in ((), (Cast(self.reference.coarsest),)):
            try:
                draws = [native.gradients(ByChance(self.reference.seed + draw), *casts) for draw in range(NATIVE)]
            except Exception:  # noqa: S112 (an operation that PyTorch does not have in this precision)
                continue
            scatter = {name: np.maximum(scatter[name], each) for name, each in _scatter(draws, plain).items()}
        return scatter


def _scatter(draws: list[Gradients], plain: Gradients) -> Gradients:
    """Return the standard deviation of each entry from the plain one."""
    moved = {name: np.zeros(value.shape) for name, value in plain.items()}
    for gradients in draws:
        for name, change in distance(gradients, plain).items():
            moved[name] += change
    return {name: GAUSSIAN / len(draws) * raised(value, len(draws)) for name, value in moved.items()}
