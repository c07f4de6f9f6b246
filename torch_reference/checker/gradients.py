"""The experiment: call `manual` twice on copies of the inputs, ask autograd, compare, and explain what differs."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torch_reference.checker.causes.case import Array, Case, difference
from torch_reference.checker.examination import Examiner
from torch_reference.checker.manual import Manual, Raw, called, check_inputs
from torch_reference.checker.reference.evaluation import Autograd
from torch_reference.checker.report.results import Entry, GradientReport, Report
from torch_reference.checker.rounding import Rounding


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
    check_inputs(inputs)
    first, changed = called(manual, inputs)
    second, changed_later = called(manual, inputs)
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
    examiner = Examiner(manual, cases, rounding, seed, list(suspects), dtypes)
    verdicts: dict[str, tuple[str, str]] = {}
    for name, case in cases.items():
        again = second.get(name)
        if changed or changed_later:
            verdicts[name] = "side-effect", f"manual changes its input {', '.join(sorted(changed | changed_later))}."
        elif again is None or not _same(first[name], again, case.allowed):
            verdicts[name] = "side-effect", _unstable(first[name], again)
        elif name in suspects:
            verdicts[name] = examiner.explain(name)
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
