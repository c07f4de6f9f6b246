"""A function at one point: what the judge says of its answer, and what the probes find besides."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from itertools import chain
from typing import Any

import numpy as np
import torch

from torch_reference.checker.causes.diagnosis import Verdict
from torch_reference.checker.derived import searched
from torch_reference.checker.formats import Array, format_of
from torch_reference.checker.functions.experiment import Experiment
from torch_reference.checker.functions.low_precision import LowPrecision
from torch_reference.checker.functions.probes.calls import Answer, Tensors
from torch_reference.checker.functions.probes.layout import layout
from torch_reference.checker.functions.probes.needed import needed
from torch_reference.checker.functions.probes.side_effects import side_effects
from torch_reference.checker.functions.probes.simpler import simplified
from torch_reference.checker.functions.probes.trial import Findings, Trial, largest, numpy
from torch_reference.checker.functions.probes.upstream import unheard
from torch_reference.checker.functions.probes.upstream import upstream as follows_upstream
from torch_reference.checker.functions.strays import strays
from torch_reference.checker.functions.whole_numbers import whole_numbers
from torch_reference.checker.judge import Judgement
from torch_reference.checker.report.results import Report
from torch_reference.checker.reporting import gradient_report, note

Verdicts = dict[str, Verdict]
Probe = tuple[str, Callable[[Trial], Findings]]

RIGHT = {"match", "kink", "rounded"}
# The first that finds something names the cause.
PROBES: tuple[Probe, ...] = (
    ("side-effect", side_effects),
    ("upstream", follows_upstream),
    ("layout", layout),
    ("missing", needed),
)
# What these find explains a wrong gradient too, unless that has a cause that brings it about.
DEEPER = {"side-effect": set(), "upstream": {"term", "nonfinite", "precision"}}
# What is wrong for these reasons stays so, even if it is right at simpler points.
NEARER = {"side-effect", "upstream", "layout", "missing", "reference"} | RIGHT
FACTORS = {"precision", "scale", "sign", "zero", "term", "transpose", "permutation", "shape"}
SETTLED = {
    "layout": NEARER,
    "upstream": NEARER | FACTORS,
    **dict.fromkeys(("ignored", "alone"), NEARER | FACTORS | {"partial"}),
}


def examine(experiment: Experiment, strict: bool = False, probes: tuple[Probe, ...] = PROBES) -> Report:
    """Return one verdict for each output and for each floating input.

    Parameters
    ----------
    experiment : Experiment
        The function and the point.
    strict : bool
        Whether `rounded` is not good enough.
    probes : tuple
        What is tried beyond the plain answer.
    """
    shapes, constants = _expected(experiment)
    answer, upstream, fixed, error = _answered(experiment, shapes, constants)
    found, low = experiment.judge(answer, upstream, shapes, fixed)
    verdicts = found.verdicts | _absent(experiment, answer, error, found.verdicts)
    verdicts |= (_rounded(found, low) if low else {}) | _coarser(experiment, answer.outputs)
    cases, reference = found.cases, found.allowance.reference
    del found, low
    if not error:
        trial = Trial(
            experiment.function,
            experiment.inputs,
            {name: value for name, value in upstream.items() if name not in fixed},
            experiment.wanted,
            experiment.seed,
            answer,
            cache(lambda name: _tolerance(cases[name].manual, cases[name].reference, cases[name].allowed)),
        )
        verdicts = _probed(trial, verdicts, probes)
        if probes and not NEARER.issuperset(code for code, _ in verdicts.values()):
            verdicts |= _better_elsewhere(experiment, trial, verdicts, upstream, shapes, fixed)
    if unexplained := [name for name, (code, _) in verdicts.items() if searched(cases[name], code)]:
        again = experiment.judge(answer, upstream, shapes, fixed, search=True)[0].verdicts
        verdicts |= {name: again[name] for name in unexplained if again[name][0] not in RIGHT}
    if probes and (unnamed := [name for name in answer.gradients if verdicts[name][0] == "mismatch"]):
        verdicts |= strays(experiment, upstream, shapes, fixed, unnamed)
    gradients = {
        name: replace(gradient_report(_shown(answer, name, case.manual), case, *verdicts[name]), strict=strict)
        for name, case in cases.items()
    }
    gradients |= whole_numbers(experiment, answer.outputs, constants)
    ordered = {name: gradients[name] for name in (*answer.outputs, *experiment.wanted)}
    return Report(ordered, note(ordered, reference))


def _expected(experiment: Experiment) -> tuple[dict[str, torch.Size], Tensors]:
    """Return the shapes of the reference's outputs, and those outputs that are not floating."""
    outputs = experiment.expected(native=True)
    constant = [name for name, value in outputs.items() if not value.is_floating_point()]
    exact = experiment.expected() if constant else outputs
    return {name: value.shape for name, value in outputs.items()}, {name: exact[name] for name in constant}


def _answered(
    experiment: Experiment, shapes: Mapping[str, torch.Size], constants: Tensors
) -> tuple[Answer, Tensors, frozenset[str], str]:
    """Return what the function answers, the upstream gradients, the outputs without gradient, and an error's words."""
    run = experiment.run()
    _check_outputs(run.outputs, shapes, constants)
    upstream = experiment.upstream(run.outputs)
    fixed = frozenset(name for name in upstream if not run.outputs[name].requires_grad)
    fixed = frozenset() if len(fixed) == len(upstream) else fixed  # a function with no gradient at all is wrong
    try:
        return run.watched(experiment.inputs, upstream, experiment.seed), upstream, fixed, ""
    except Exception as problem:
        answer = _without_gradients(experiment, run.outputs)
        return answer, upstream, fixed, f"{type(problem).__name__}: {problem}"


def _check_outputs(outputs: Tensors, shapes: Mapping[str, torch.Size], constants: Tensors) -> None:
    if list(outputs) != list(shapes):
        raise ValueError(f"the function returns {', '.join(outputs)}, but the reference {', '.join(shapes)}")
    if not any(value.is_floating_point() for value in outputs.values()):
        types = ", ".join(str(value.dtype) for value in outputs.values())
        raise ValueError(f"the function returns {types}: there is no real floating output to differentiate")
    for name, value in outputs.items():
        if value.is_floating_point() == (name in constants):
            other = constants[name].dtype if name in constants else "floating"
            raise ValueError(f"{name} is {value.dtype}, but the reference's is {other}")
        if value.numel() != shapes[name].numel():
            differing = tuple(value.shape), tuple(shapes[name])
            raise ValueError(f"{name} has shape {differing[0]}, but the reference's has shape {differing[1]}")


def _without_gradients(experiment: Experiment, outputs: Tensors) -> Answer:
    """Return an answer for a backward pass that failed."""
    nothing = {name: torch.full_like(experiment.inputs[name], float("nan")) for name in experiment.wanted}
    return Answer({name: value.detach() for name, value in outputs.items()}, nothing)


def _absent(experiment: Experiment, answer: Answer, error: str, verdicts: Mapping[str, Verdict]) -> Verdicts:
    """Return the verdicts on gradients that there are none of.

    None is right for a tensor that does not require a gradient, if others were given that do.
    """
    if error:
        code = "shape" if "invalid gradient" in error and "shape" in error else "missing"
        message = f"The backward pass raises {error.strip().splitlines()[0]}"
        return dict.fromkeys(answer.gradients, (code, message))
    required = {name for name in experiment.wanted if experiment.inputs[name].requires_grad}
    found = {}
    for name, gradient in answer.gradients.items():
        if gradient is None and required and name not in required:
            found[name] = "match", "It is None, and the given tensor does not require a gradient."
        elif gradient is None and verdicts[name][0] not in RIGHT:
            found[name] = "missing", "It is None, but the right gradient is not zero."
    return found


def _coarser(experiment: Experiment, outputs: Tensors) -> Verdicts:
    """Return the verdicts on outputs of a lower precision than the inputs' and the reference's."""
    coarsest = max(format_of(experiment.inputs[name].dtype).epsilon for name in experiment.wanted)
    floating = [name for name, value in outputs.items() if value.is_floating_point()]
    lower = [name for name in floating if format_of(outputs[name].dtype).epsilon > coarsest]
    if not lower:
        return {}
    expected = experiment.expected(native=True)
    message = "It is returned as {}, a lower precision than the inputs' and the reference's."
    return {
        name: ("precision", message.format(format_of(outputs[name].dtype).name))
        for name in lower
        if format_of(expected[name].dtype).epsilon < format_of(outputs[name].dtype).epsilon
    }


def _rounded(found: Judgement, budget: LowPrecision) -> Verdicts:
    """Return the verdicts on what keeps to the coarse budget only."""
    coarse = {}
    for name in found.cases:
        if found.verdicts[name][0] == "match" and not budget.is_fine(found.allowance, name):
            factor = budget.coarseness(found.allowance, name)
            message = f"with float32 accumulators its error would be {factor:.2g} times smaller."
            coarse[name] = "rounded", f"Right, but rounded more often than once a stored tensor: {message}"
    return coarse


def _probed(trial: Trial, verdicts: Verdicts, probes: tuple[Probe, ...]) -> Verdicts:
    """Let what a probe finds take the place of a verdict that it overrules."""
    found: Verdicts = {}
    for code, probe in probes:
        for name, message in probe(trial).items():
            if verdicts[name][0] == "reference":  # nothing can be said of infinities that are subtracted
                continue
            if verdicts[name][0] in RIGHT or verdicts[name][0] not in DEEPER.get(code, {verdicts[name][0]}):
                found.setdefault(name, (code, message))
    return verdicts | found


def _better_elsewhere(
    experiment: Experiment,
    trial: Trial,
    verdicts: Verdicts,
    upstream: Tensors,
    shapes: Mapping[str, torch.Size],
    fixed: frozenset[str],
) -> Verdicts:
    """See whether what is wrong is right for contiguous inputs, or for simpler upstream gradients."""
    found: Verdicts = {}
    for words, kind, inputs, simpler in chain(unheard(trial), simplified(experiment.inputs, upstream)):
        open_ones = [name for name in trial.wanted if verdicts[name][0] not in SETTLED[kind] and name not in found]
        if not open_ones:
            continue
        point = replace(experiment, inputs=inputs)
        try:
            answer = point.run().answer(simpler, experiment.seed)
        except Exception:  # noqa: S112 (another cause than the one that is looked for)
            continue
        if kind == "alone":  # what is ignored makes no difference
            pairs = {name: (answer.gradients[name], trial.answer.gradients[name]) for name in open_ones}
            open_ones = [name for name, (one, other) in pairs.items() if trial.alike(name, one, other)]
        if not open_ones:
            continue
        judged, _ = point.judge(answer, simpler, shapes, fixed)
        for name in open_ones:
            case, code_there = judged.cases[name], judged.verdicts[name][0]
            if (
                code_there in RIGHT
                and np.count_nonzero(np.abs(case.reference) > case.allowed) > case.reference.size / 2
            ):
                found[name] = "layout" if kind == "layout" else "upstream", words
    return found


def _tolerance(given: Array, right: Array, allowed: Array) -> Array:
    """Return how far two answers may differ; more where the answer itself is larger than the right one."""
    sizes = [largest(each) for each in (given, right)]
    tolerance = 2 * max(1.0, sizes[0] / sizes[1] if sizes[1] else 1.0) * allowed
    return tolerance.reshape(given.shape) if given.size == right.size else np.broadcast_to(tolerance.max(), given.shape)


def _shown(answer: Answer, name: str, counted: Array) -> Any:
    """Return what was returned, as NumPy has it; for None, what it counts as."""
    tensor = answer.outputs[name] if name in answer.outputs else answer.gradients[name]
    if tensor is None:
        return counted
    return numpy(tensor)
