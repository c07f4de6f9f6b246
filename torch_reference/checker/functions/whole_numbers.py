"""What is said of outputs of whole numbers and truth values, which have to be the same as the reference's."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from torch_reference.checker.case import Case
from torch_reference.checker.causes.diagnosis import Verdict, diagnose
from torch_reference.checker.causes.structure import where
from torch_reference.checker.formats import FLOAT64, Array
from torch_reference.checker.functions.experiment import Experiment
from torch_reference.checker.functions.probes.calls import Tensors
from torch_reference.checker.report.gradient import GradientReport

ALLOWED = 0.1  # the causes allow four times as much, which is less than the distance of whole numbers
NUDGE, DRAWS = 1e-9, 8  # how far the inputs move to see where the reference chooses among equal entries, and how often


def whole_numbers(experiment: Experiment, outputs: Tensors, expected: Tensors) -> dict[str, GradientReport]:
    """Return the verdicts on the outputs that are not floating."""
    found = {}
    for name, value in outputs.items():
        if value.is_floating_point():
            continue
        manual, right = value.detach().cpu().numpy(), expected[name].cpu().numpy().astype(np.float64)
        wrong = manual.reshape(right.shape) != right
        code, message = ("match" if manual.shape == right.shape else "shape"), "The same numbers as the reference's."
        if wrong.any():
            code, message = _cause(name, manual, right)
            if not (wrong & ~_ties(experiment, name, right)).any():
                message += " There entries tie, and the reference takes another one of them."
        found[name] = GradientReport(name, code, message, manual, right, int(np.count_nonzero(wrong)))
    return found


def _cause(name: str, manual: NDArray[Any], right: Array) -> Verdict:
    """Return what the causes of wrong gradients say, and what becomes of numbers alone: a constant is added."""
    case = Case(name, manual.astype(np.float64), right, np.full(right.shape, ALLOWED), {}, FLOAT64.epsilon)
    if manual.dtype == bool and case.comparable:  # of two values nearly any two arrays are permutations
        return "mismatch" if case.wrong.all() else "partial", where(case.wrong)
    if case.comparable and case.manual.size > 1 and case.manual.any() and np.ptp(case.difference) == 0:
        symbol, words = ("+", "too much") if case.difference.flat[0] > 0 else ("-", "missing")
        size = f"{abs(case.difference.flat[0]):g}"
        return "term", f"manual = right numbers {symbol} {size}: the constant {size} is {words}."
    code, message = diagnose(case, lambda _: None)
    return (
        (code, where(case.wrong)) if code == "mismatch" else (code, message.replace("right gradient", "right numbers"))
    )


def _ties(experiment: Experiment, name: str, right: Array) -> NDArray[np.bool_]:
    """Return where the reference's own numbers change if its inputs move by next to nothing."""
    generator = torch.Generator().manual_seed(experiment.seed)
    changed = np.zeros(right.shape, bool)
    for _ in range(DRAWS):
        moved = dict(experiment.inputs)
        for floating in experiment.wanted:
            value = moved[floating].detach().double()
            noise = torch.randn(value.shape, generator=generator, dtype=torch.float64).to(value.device)
            moved[floating] = value + NUDGE * value.abs().amax() * noise if value.numel() else value
        try:
            changed |= replace(experiment, inputs=moved).expected()[name].cpu().numpy() != right
        except Exception:  # the reference refuses such inputs: nothing is known of ties
            return np.zeros(right.shape, bool)
    return changed
