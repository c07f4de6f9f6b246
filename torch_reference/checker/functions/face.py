"""The face for PyTorch: call a function forward and backward, judge what it returns, and try what only functions do."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from torch_reference.checker.formats import format_of
from torch_reference.checker.functions.examination import examine
from torch_reference.checker.functions.experiment import Experiment, is_floating_tensor
from torch_reference.checker.functions.probes.calls import Function
from torch_reference.checker.functions.probes.stress import stressed
from torch_reference.checker.functions.second_order import second_order
from torch_reference.checker.report.gradient import GradientReport
from torch_reference.checker.report.results import Report


def crosscheck_function(
    function: Function,
    reference: Function,
    inputs: Mapping[str, Any],
    seed: int = 0,
    order: int = 1,
    strict: bool = False,
    stress: bool = False,
    device: str | torch.device = "cpu",
) -> Report:
    """Compare the outputs and gradients of a PyTorch function with those of a reference in plain PyTorch.

    Parameters
    ----------
    function : callable
        The function under test, such as `MyFunction.apply`. It gets the inputs by position, in their order, and returns
        a tensor or a tuple of tensors.
    reference : callable
        The same formula in plain PyTorch. It is evaluated in float64, from exactly the given numbers.
    inputs : mapping of str to object
        Floating tensors, of any type and layout and on any device, are differentiated. Anything else is a constant.
    seed : int
        Seed of the upstream gradients, of the noise that measures rounding, and of PyTorch's generators in each call.
    order : int
        2 checks the gradient of the gradient too.
    strict : bool
        Demand float32 accumulators and one rounding for each stored tensor of bfloat16 and float16.
    stress : bool
        Try further inputs, derived from these: zeros, ties, saturated values, other sizes and ranks.
    device : str or torch device
        Where the reference is evaluated.

    Returns
    -------
    Report
        One verdict for each output and for each floating input.

    Raises
    ------
    TypeError
        If an input is not of real numbers, or the function or the reference returns something else than tensors.
    ValueError
        If no input is floating, or the function and the reference return different outputs.
    """
    _check(inputs, order)
    experiment = Experiment(function, reference, dict(inputs), seed, torch.device(device))
    report = examine(experiment, strict)
    gradients = dict(report.gradients)
    if order == 2:
        gradients |= second_order(experiment, strict)
    if stress:
        gradients = _stressed(experiment, strict, gradients)
    return Report(gradients, report.note)


def assert_function_matches(
    function: Function,
    reference: Function,
    inputs: Mapping[str, Any],
    seed: int = 0,
    order: int = 1,
    strict: bool = False,
    stress: bool = False,
    device: str | torch.device = "cpu",
) -> None:
    """Raise an AssertionError with the report's table unless the function matches its reference.

    The arguments are those of `crosscheck_function`.
    """
    __tracebackhide__ = True
    report = crosscheck_function(function, reference, inputs, seed, order, strict, stress, device)
    if not report.ok:
        raise AssertionError(f"the function differs from its reference\n\n{report}")


def _stressed(
    experiment: Experiment, strict: bool, gradients: Mapping[str, GradientReport]
) -> dict[str, GradientReport]:
    """Let what goes wrong at derived inputs take the place of what was right at the given ones."""
    found = dict(gradients)
    for words, inputs in stressed(experiment.inputs):
        point = replace(experiment, inputs=inputs)
        try:
            point.expected()
            report = examine(point, strict, probes=())
        except Exception:  # noqa: S112 (the reference or the function does not take such inputs, and says so)
            continue
        for name, gradient in report.gradients.items():
            if found[name].ok and not gradient.ok and np.isfinite(gradient.reference).all():
                found[name] = replace(gradient, message=f"With {words}: {gradient.message}")
    return found


def _check(inputs: Mapping[str, Any], order: int) -> None:
    if not isinstance(inputs, Mapping):
        raise TypeError(f"inputs must be a dict of names and tensors, not {type(inputs).__name__}")
    for name, value in inputs.items():
        if name.split(".")[0] == "output":
            raise ValueError(f"an input is called {name!r}, which is what outputs are called: rename it")
        if isinstance(value, torch.Tensor) and value.is_complex():
            raise TypeError(f"input {name!r} has dtype {value.dtype}: only real numbers can be checked")
        if isinstance(value, torch.Tensor) and value.layout != torch.strided:
            raise TypeError(f"input {name!r} has the layout {value.layout}: only dense tensors can be checked")
        if is_floating_tensor(value):
            format_of(value.dtype)
    if not any(is_floating_tensor(value) for value in inputs.values()):
        raise ValueError("none of the inputs is a floating tensor: there is nothing to differentiate by")
    if order not in (1, 2):
        raise ValueError(f"order is {order}, but only gradients (1) and their gradients (2) can be checked")
