"""Explain the gradients that rounding does not: first by kinks of the loss, then by the causes of `diagnosis`."""

from functools import partial

import numpy as np
from numpy.typing import NDArray

from torch_reference.checker.causes.case import Array, Case
from torch_reference.checker.causes.diagnosis import diagnose
from torch_reference.checker.causes.precision import PRECISIONS, imprecise
from torch_reference.checker.kinks import Kinks
from torch_reference.checker.manual import Manual, copied
from torch_reference.checker.reference.evaluation import is_floating
from torch_reference.checker.rounding import Rounding


class Examiner:
    """Explains the gradients that rounding does not."""

    def __init__(
        self,
        manual: Manual,
        cases: dict[str, Case],
        rounding: Rounding,
        seed: int,
        suspects: list[str],
        dtypes: dict[str, str],
    ) -> None:
        self.dtypes = dtypes
        self.manual, self.cases, self.rounding, self.seed = manual, cases, rounding, seed
        self.kinks: Kinks | None = None
        ties = rounding.ties() if suspects else []
        if ties:
            self.kinks = Kinks(rounding, ties, {name: _to_explain(cases[name]) for name in suspects}, seed)

    def explain(self, name: str) -> tuple[str, str]:
        """Return code and message for one gradient."""
        case = self.cases[name]
        finite = np.isfinite(case.reference)
        if case.manual.shape == case.reference.shape and not finite.all() and np.isfinite(case.manual).all():
            if not case.wrong[finite].any() and np.isfinite(self.rounding.autograd.loss):
                return "kink", "Autograd itself is not finite there: the loss has no derivative. The rest agrees."
            return "mismatch", "Autograd itself is not finite: there is nothing to compare with."
        same_shape = case.manual.shape == case.reference.shape
        if self.kinks and same_shape and self.kinks.explains(name, case.manual):
            return "kink", "Differs only where the loss is not differentiable, and is a valid subgradient there."
        code, message = self._diagnose(case)
        if code in {"mismatch", "partial"} and self.kinks:
            for variant in self.kinks.variants(name):
                seen = variant(case)
                if same_shape and not seen.wrong.any():
                    continue
                other, words = self._diagnose(seen)
                if other not in {"mismatch", "partial"} and other != "precision":
                    return other, f"{words} (Apart from entries at a kink of the loss.)"
            if same_shape and self.kinks.touch(name, case.wrong):
                message += " Those at a kink of the loss are no subgradient there."
        return code, message

    def _diagnose(self, case: Case) -> tuple[str, str]:
        rounding, name = self.rounding, case.name
        lower = {
            words: rounding.allowed(name, float(np.finfo(dtype).eps))
            for words, dtype in PRECISIONS.items()
            if np.finfo(dtype).eps > rounding.epsilon
        }
        if case.manual.shape == case.reference.shape:
            for allowed in [lower[dtype] for dtype in lower if dtype == self.dtypes[name]]:
                if (np.abs(case.difference) <= allowed).all():
                    return "precision", f"It is returned as {self.dtypes[name]}, a lower precision than the inputs'."
        low = next(iter(lower.values()), case.allowed)
        return diagnose(
            case,
            low,
            partial(imprecise, lower=lower, nudged=partial(self._nudged, name), slope=partial(self._slope, name)),
        )

    def _nudged(self, name: str, amount: float) -> tuple[Array, Array] | None:
        rng = np.random.default_rng(self.seed)
        moved = {}
        for other, value in self.cases[name].inputs.items():
            array = np.asarray(value)
            noise = 1 + amount * rng.uniform(-1, 1, array.shape) if is_floating(value) else 1
            moved[other] = (array * noise).astype(array.dtype) if is_floating(value) else value
        found = np.asarray(copied(self.manual(**moved), moved)[name], dtype=np.float64)
        return found, self.rounding.autograd.at(moved).gradients()[name]

    def _slope(self, name: str, index: tuple[int, ...], step: float) -> float:
        moved = {
            other: np.array(value, dtype=np.float64) if is_floating(value) else value
            for other, value in self.cases[name].inputs.items()
        }
        moved[name][index] += step
        return float(self.rounding.autograd.at(moved).gradients()[name][index])


def _to_explain(case: Case) -> NDArray[np.bool_]:
    """Return the wrong entries; all of them where the shapes differ."""
    return case.wrong if case.manual.shape == case.reference.shape else np.ones(case.reference.shape, dtype=bool)
