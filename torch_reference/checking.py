"""The experiment: call `manual` twice on copies of the inputs, ask autograd, compare, and explain what differs."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torch_reference.case import Array, Case, difference
from torch_reference.diagnosis import diagnose
from torch_reference.evaluation import Autograd, is_floating
from torch_reference.kinks import Kinks
from torch_reference.precision import PRECISIONS, imprecise
from torch_reference.report import Entry, GradientReport, Report
from torch_reference.rounding import Rounding

Manual = Callable[..., Mapping[str, Any]]
Raw = dict[str, NDArray[Any]]


def crosscheck(manual: Manual, reference: Callable[..., Any], inputs: Mapping[str, Any], seed: int = 0) -> Report:
    """Compare hand-derived gradients with those of autograd, as strictly as rounding allows.

    Parameters
    ----------
    manual : callable
        `manual(**inputs)` returns a dict with the gradient of any of the floating inputs.
    reference : callable
        `reference(**inputs)` gets tensors and returns the scalar loss.
    inputs : mapping of str to array
        Floating arrays (and Python floats) are differentiated, integers and truth values are constants.
    seed : int
        Seed of the noise that measures how much rounding explains.

    Returns
    -------
    Report
        One verdict for each gradient that `manual` returns.

    Raises
    ------
    TypeError
        If an input or a gradient is no array of numbers, or `reference` returns no tensor.
    ValueError
        If `manual` returns no gradient or one of something that is no floating input, or the loss is no scalar.
    """
    _check_inputs(inputs)
    first, changed = _called(manual, inputs)
    second, changed_later = _called(manual, inputs)
    names = list(first)
    autograd = Autograd(reference, inputs, names, seed)
    rounding = Rounding(autograd, seed)
    cases = _cases(first, inputs, rounding)
    suspects = {name: case for name, case in cases.items() if not _right(case)}
    for _ in rounding.closer_looks() if suspects else ():
        cases |= {name: case for name, case in _cases(first, inputs, rounding).items() if name in suspects}
        suspects = {name: case for name, case in suspects.items() if not _right(cases[name])}
        if not suspects:
            break
    dtypes = {name: str(gradient.dtype) for name, gradient in first.items()}
    doctor = _Doctor(manual, cases, rounding, seed, list(suspects), dtypes)
    verdicts: dict[str, tuple[str, str]] = {}
    for name, case in cases.items():
        again = second.get(name)
        if changed or changed_later:
            verdicts[name] = "side-effect", f"manual changes its input {', '.join(sorted(changed | changed_later))}."
        elif again is None or not _same(first[name], again, case.allowed):
            verdicts[name] = "side-effect", _unstable(first[name], again)
        elif name in suspects:
            verdicts[name] = doctor.explain(name)
        elif _coarser(first[name], rounding.epsilon):
            verdicts[name] = "precision", f"It is returned as {first[name].dtype}, a lower precision than the inputs'."
        else:
            verdicts[name] = "match", "Agrees with autograd to rounding."
    gradients = {name: _verdict(first[name], cases[name], *verdicts[name]) for name in names}
    return Report(gradients, _note(gradients, autograd) if not all(g.ok for g in gradients.values()) else "")


def assert_gradients_match(
    manual: Manual, reference: Callable[..., Any], inputs: Mapping[str, Any], seed: int = 0
) -> None:
    """Raise an AssertionError with the report's table unless all gradients are right.

    The arguments are those of `crosscheck`.
    """
    __tracebackhide__ = True
    report = crosscheck(manual, reference, inputs, seed)
    if not report.ok:
        raise AssertionError(f"hand-derived gradients differ from autograd\n\n{report}")


class _Doctor:
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
        found = np.asarray(_copied(self.manual(**moved), moved)[name], dtype=np.float64)
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


def _check_inputs(inputs: Mapping[str, Any]) -> None:
    for name, value in inputs.items():
        if not isinstance(value, np.ndarray | np.generic | float | int):
            raise TypeError(f"input {name!r} is no NumPy array but {type(value).__name__}: wrap it in np.array")
        if np.asarray(value).dtype.kind not in "fiub":
            raise TypeError(f"input {name!r} has dtype {np.asarray(value).dtype}: only real numbers can be checked")
    if not any(is_floating(value) for value in inputs.values()):
        raise ValueError("none of the inputs is a floating array: there is nothing to differentiate by")


def _called(manual: Manual, inputs: Mapping[str, Any]) -> tuple[Raw, set[str]]:
    """Call manual on copies; return its gradients and the names of the inputs that it changed."""
    given = {name: value.copy(order="K") if isinstance(value, np.ndarray) else value for name, value in inputs.items()}
    returned = manual(**given)
    gradients = _copied(returned, inputs)
    changed = {name for name, value in inputs.items() if isinstance(value, np.ndarray) and _differ(value, given[name])}
    return gradients, changed


def _differ(one: NDArray[Any], other: NDArray[Any]) -> bool:
    if one.shape != other.shape:
        return True
    same = one == other
    return not (same.all() or (same | ((one != one) & (other != other))).all())  # NaN is not itself


def _copied(returned: Any, inputs: Mapping[str, Any]) -> Raw:
    if not isinstance(returned, Mapping):
        raise TypeError(f"manual must return a dict of gradients, but it returned {type(returned).__name__}")
    if not returned:
        raise ValueError("manual returned an empty dict: there is no gradient to check")
    gradients: Raw = {}
    for name, value in returned.items():
        if name not in inputs:
            raise ValueError(
                f"manual returned a gradient for {name!r}, which is no input: they are {', '.join(inputs)}"
            )
        if not is_floating(inputs[name]):
            dtype = np.asarray(inputs[name]).dtype
            raise ValueError(f"manual returned a gradient for {name!r}, which is a constant of dtype {dtype}")
        try:
            array = np.array(value)
        except ValueError:
            array = np.array(None)
        if array.dtype.kind not in "fiub":
            raise TypeError(
                f"the gradient for {name!r} is no array of real numbers but {type(value).__name__} ({array.dtype})"
            )
        gradients[name] = array
    return gradients


def _cases(first: Raw, inputs: Mapping[str, Any], rounding: Rounding) -> dict[str, Case]:
    return {
        name: Case(
            name,
            gradient.astype(np.float64, copy=False),
            rounding.reference[name],
            rounding.allowed(name),
            inputs,
            rounding.epsilon,
        )
        for name, gradient in first.items()
    }


def _right(case: Case) -> bool:
    return case.manual.shape == case.reference.shape and not case.wrong.any()


def _coarser(gradient: NDArray[Any], epsilon: float) -> bool:
    return gradient.dtype.kind == "f" and bool(np.finfo(gradient.dtype).eps > epsilon)


def _same(first: NDArray[Any], second: NDArray[Any], allowed: Array) -> bool:
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    if (first == second).all():
        return True
    moved = np.abs(difference(first.astype(np.float64), second.astype(np.float64)))
    return bool((moved <= (allowed if first.shape == allowed.shape else 0.0)).all())


def _unstable(first: NDArray[Any], again: NDArray[Any] | None) -> str:
    message = "manual answers differently when it is called again with the same inputs: it keeps or draws something."
    if again is None or again.shape != first.shape:
        return message
    if np.allclose(again, 2 * first):
        return f"{message} The second answer is twice the first: it adds up what it returned before."
    return message


def _verdict(manual: NDArray[Any], case: Case, code: str, message: str) -> GradientReport:
    if manual.shape != case.reference.shape or not manual.size:
        return GradientReport(
            case.name, code, message, manual, case.reference, error=float("inf") if manual.size else 0.0
        )
    index = tuple(int(i) for i in np.unravel_index(int(np.argmax(case.excess)), manual.shape))
    worst = Entry(index, float(case.manual[index]), float(case.reference[index]), float(case.allowed[index]))
    wrong = int(np.count_nonzero(case.wrong))
    return GradientReport(case.name, code, message, manual, case.reference, wrong, worst, float(case.excess[index]))


def _note(gradients: Mapping[str, GradientReport], autograd: Autograd) -> str:
    """Say between which two gradients, on the way back from the loss, the mistake enters."""
    depths = autograd.depths()
    near = sorted((name for name in gradients if name in depths), key=lambda name: depths[name])
    right = [name for name in near if gradients[name].ok]
    wrong = [name for name in near if not gradients[name].ok]
    if not right or not wrong or depths[right[0]] >= depths[wrong[0]]:
        return ""
    last = max((name for name in right if depths[name] < depths[wrong[0]]), key=lambda name: depths[name])
    return (
        f"On the way back from the loss {last} is still right and {wrong[0]} is the first that is wrong: "
        "the mistake enters between them."
    )
