"""Whether a wrong gradient takes what belongs to another row: a kernel that reads on beyond the end of its own."""

from collections.abc import Iterable, Mapping

import numpy as np
import torch

from torch_reference.checker.causes.diagnosis import Verdict
from torch_reference.checker.causes.structure import where
from torch_reference.checker.functions.experiment import Experiment
from torch_reference.checker.functions.probes.calls import Tensors

WORDS = (
    "With an upstream gradient that is zero but for row {}, it is not zero where the right one is: what belongs to one "
    "row reaches others, as where a kernel reads on into the next one. {}"
)


def strays(
    experiment: Experiment,
    upstream: Tensors,
    shapes: Mapping[str, torch.Size],
    fixed: frozenset[str],
    names: Iterable[str],
) -> dict[str, Verdict]:
    """Return the verdicts on gradients that one row's upstream gradient gives to entries it has no part in."""
    if len(upstream) != 1:
        return {}
    ((output, value),) = upstream.items()
    if not value.dim() or len(value) < 2:
        return {}
    row = len(value) // 2
    alone = {output: torch.zeros_like(value).index_copy_(0, torch.tensor([row]).to(value.device), value[row : row + 1])}
    answer = experiment.run().answer(alone, experiment.seed)
    judged, _ = experiment.judge(answer, alone, shapes, fixed)
    found = {}
    for name in names:
        case = judged.cases[name]
        apart = np.abs(case.reference) <= case.allowed
        if case.comparable and 2 * np.count_nonzero(apart) >= apart.size and (astray := apart & case.wrong).any():
            found[name] = "upstream", WORDS.format(row, where(astray))
    return found
