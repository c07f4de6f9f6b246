"""From the judge's cases to the results that people read."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torch_reference.checker.case import Case
from torch_reference.checker.reference.evaluation import Reference
from torch_reference.checker.report.gradient import Entry, GradientReport


def gradient_report(manual: NDArray[Any], case: Case, code: str, message: str) -> GradientReport:
    """Return the result for one gradient: its verdict, and its worst entry where the shapes agree."""
    if not case.comparable or not manual.size:
        error = float("inf") if manual.size else 0.0
        return GradientReport(case.name, code, message, manual, case.reference, error=error)
    index = tuple(int(i) for i in np.unravel_index(int(np.argmax(case.excess)), manual.shape))
    worst = Entry(index, float(case.manual[index]), float(case.reference[index]), float(case.allowed[index]))
    wrong, error = int(np.count_nonzero(case.wrong)), float(case.excess[index])
    return GradientReport(case.name, code, message, manual, case.reference, wrong, worst, error, case.wrong)


def note(gradients: Mapping[str, GradientReport], reference: Reference) -> str:
    """Say between which two gradients, on the way back from the loss, the mistake enters."""
    if all(gradient.ok for gradient in gradients.values()):
        return ""
    depths = reference.depths()
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
