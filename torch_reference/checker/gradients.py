"""The face for NumPy: call `manual` twice on copies of the inputs, ask autograd, and let the judge compare."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torch_reference.checker.case import difference
from torch_reference.checker.formats import Array
from torch_reference.checker.judge import judge
from torch_reference.checker.manual import Manual, called, check_inputs, elsewhere, given
from torch_reference.checker.reference.evaluation import IndependentError, Reference
from torch_reference.checker.report.gradient import GradientReport
from torch_reference.checker.report.results import Report
from torch_reference.checker.reporting import gradient_report, note


def crosscheck(manual: Manual, reference: Callable[..., Any], inputs: Mapping[str, Any], seed: int = 0) -> Report:
    """Compare hand-derived gradients with those of autograd, as strictly as rounding allows.

    Parameters
    ----------
    manual : callable
        `manual(**inputs)` returns a dict with the gradient of any of the floating inputs. It is called twice; again,
        at inputs that are moved a little, only to explain a gradient that is wrong. What it raises there is ignored.
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
        If an input or a gradient is not an array of numbers, or `reference` does not return a tensor.
    ValueError
        If `manual` returns no gradient, or one of something that is not a floating input, or the loss is not a scalar.
    """
    check_inputs(inputs)
    first, changed = called(manual, inputs)
    second, changed_later = called(manual, inputs)
    loss = Reference(reference, inputs, tuple(first), seed)
    probe = partial(elsewhere, manual, loss, tuple(first), seed)
    try:
        found = judge(given(first), loss, inputs, probe, search=not changed | changed_later)
    except IndependentError as error:
        words = f"{str(error)[0].upper()}{str(error)[1:]}"
        return Report(
            {
                name: GradientReport(name, "reference", words, value, np.zeros(value.shape))
                for name, value in first.items()
            }
        )
    effects = {
        name: ("side-effect", message)
        for name, case in found.cases.items()
        if (message := _side_effect(first[name], second.get(name), case.allowed, changed | changed_later))
    }
    verdicts = found.verdicts | effects
    gradients = {name: gradient_report(first[name], case, *verdicts[name]) for name, case in found.cases.items()}
    return Report(gradients, note(gradients, found.allowance.reference))


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


def _side_effect(first: NDArray[Any], again: NDArray[Any] | None, allowed: Array, changed: set[str]) -> str:
    """Say what manual does beyond returning this gradient; nothing if it does nothing."""
    if changed:
        return f"manual changes its input {', '.join(sorted(changed))}."
    if again is not None and _same(first, again, allowed):
        return ""
    message = "manual answers differently when it is called again with the same inputs: it keeps or draws something."
    if again is not None and again.shape == first.shape and np.allclose(again, 2 * first):
        return f"{message} The second answer is twice the first: it adds up what it returned before."
    return message


def _same(first: NDArray[Any], second: NDArray[Any], allowed: Array) -> bool:
    if first.shape != second.shape or first.dtype != second.dtype:
        return False
    if (first == second).all():
        return True
    moved = np.abs(difference(first.astype(np.float64), second.astype(np.float64)))
    return bool((moved <= (allowed if first.shape == allowed.shape else 0.0)).all())
