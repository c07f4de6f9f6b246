"""The judge of both faces of the check: whether a gradient is right to rounding and, if not, what explains it.

First rounding, measured ever more closely while a disagreement is left; then kinks of the loss; then the causes of
`diagnosis`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from torch_reference.checker.allowance import Allowance
from torch_reference.checker.budget import Budget
from torch_reference.checker.case import APART, Case, Given, Probe, agree
from torch_reference.checker.causes.diagnosis import Verdict, coarse_cause, diagnose, simple_cause
from torch_reference.checker.causes.precision import Nudged, finite_differences, imprecise
from torch_reference.checker.derived import UNEXPLAINED, derived, searched
from torch_reference.checker.formats import Array
from torch_reference.checker.kinks.mixtures import explains, variants
from torch_reference.checker.kinks.sides import Sides, decisions_at_risk, other_sides
from torch_reference.checker.reference.evaluation import Reference, exact
from torch_reference.checker.rounding import closer, measure

MATCH = "match", "Agrees with autograd to rounding."
KINK = "kink", "Differs only where the loss is not differentiable, and is a valid subgradient there."


@dataclass(frozen=True, eq=False)
class Judgement:
    """What the judge found.

    Attributes
    ----------
    cases : dict of str to Case
        Each gradient with the right one and what rounding explains.
    verdicts : dict of str to (code, message)
        One for each gradient.
    allowance : Allowance
        What was measured of rounding.
    """

    cases: dict[str, Case]
    verdicts: dict[str, Verdict]
    allowance: Allowance


def judge(
    given: Mapping[str, Given],
    reference: Reference,
    inputs: Mapping[str, Any],
    probe: Probe,
    budget: Budget | None = None,
    search: bool = True,
) -> Judgement:
    """Judge each gradient.

    Parameters
    ----------
    given : mapping of str to Given
        The gradients under test.
    reference : Reference
        The loss that they are gradients of.
    inputs : mapping of str to array
        All inputs as NumPy arrays, for causes that look for terms and factors.
    probe : callable
        Asks for the gradients elsewhere.
    budget : Budget, optional
        What the gradients are held to.
    search : bool
        Look for the step of the derivation that went wrong, which takes long, where there is no simpler cause.
    """
    budget = budget or Budget()
    allowance = measure(reference)
    cases = _cases(given, inputs, allowance, budget)
    sure = 1.0 if allowance.large else APART  # what is nearer to the limit than that is worth a closer look
    verdicts = _right(cases, sure)
    suspects = [name for name in cases if name not in verdicts]
    given = {**given, **{name: given[name].widened() for name in suspects}}  # the causes compute with the entries
    cases |= {name: replace(cases[name], manual=given[name].values) for name in suspects}
    ties = decisions_at_risk(allowance) if suspects else []
    efforts = list(closer(allowance))
    hasty = allowance.large and not ties  # a kink would come before any cause; small arrays get all draws
    if hasty and _obvious(cases, suspects):  # no draw could mend these, only another way to add up
        efforts.sort(key=lambda effort: not effort.alternatives)
    for effort in efforts:
        if not suspects:
            break
        cases = {name: case for name, case in cases.items() if name in verdicts}  # large: room for what is measured
        allowance = measure(reference, effort, allowance)
        cases |= _cases({name: given[name] for name in suspects}, inputs, allowance, budget)
        verdicts |= _right({name: cases[name] for name in suspects}, 1.0 if effort.alternatives else sure)
        if effort.alternatives and hasty:
            verdicts |= _obvious(cases, [name for name in suspects if name not in verdicts])
        suspects = [name for name in suspects if name not in verdicts]
    cases = {name: cases[name] for name in given}
    wrong = {name: case for name, case in cases.items() if name not in verdicts}
    masks = {name: _to_explain(case) for name, case in wrong.items()}
    sides = other_sides(allowance, ties, masks) if ties and wrong else None
    verdicts |= {name: _explained(case, allowance, sides, probe, budget) for name, case in wrong.items()}
    kinked = {name: cases[name].manual for name, verdict in verdicts.items() if verdict == KINK}
    if sides and len(kinked) > 1 and not explains(sides, kinked):
        verdicts |= dict.fromkeys(kinked, ("mismatch", _at_odds(list(kinked))))
    verdicts |= _exchanged(cases, verdicts)
    if search and any(searched(cases[name], code) for name, (code, _) in verdicts.items()):
        verdicts |= derived(cases, verdicts, allowance, probe)
    for name in [name for name, (code, _) in verdicts.items() if code in UNEXPLAINED]:
        verdicts[name] = _coarse_cause(cases[name], allowance, probe, budget, search) or verdicts[name]
    if not allowance.finite and not np.isfinite(loss := allowance.reference.loss()):
        verdicts = dict.fromkeys(cases, ("reference", f"The loss of reference is {loss}: it cannot judge a gradient."))
    return Judgement(cases, verdicts, allowance)


def _exchanged(cases: Mapping[str, Case], verdicts: Mapping[str, Verdict]) -> dict[str, Verdict]:
    """Return the verdicts on unexplained gradients that are the right ones of other inputs."""
    found = {}
    for name in (name for name in cases if verdicts[name][0] in UNEXPLAINED):
        for other, right in cases.items():
            alike = other != name and right.reference.shape == cases[name].manual.shape
            if alike and agree(cases[name].manual, right.reference, right.allowed):
                found[name] = "permutation", f"It is the right gradient of {other}: the two have changed places?"
    return found


def _at_odds(names: list[str]) -> str:
    return f"At a kink of the loss {' and '.join(names)} are valid one by one, but took different sides of it."


def _right(cases: Mapping[str, Case], sure: float) -> dict[str, Verdict]:
    """Return the verdicts on the gradients in which a share of what rounding allows explains every difference."""
    return {
        name: ("precision", _returned_coarsely(case)) if case.returned.epsilon > case.epsilon else MATCH
        for name, case in cases.items()
        if case.right and case.near(sure)
    }


def _obvious(cases: Mapping[str, Case], suspects: Sequence[str]) -> dict[str, Verdict]:
    """Return the verdicts on the gradients that one cause explains entry by entry."""
    found = {name: simple_cause(cases[name]) for name in suspects if np.isfinite(cases[name].reference).all()}
    return {name: verdict for name, verdict in found.items() if verdict}


def _cases(
    given: Mapping[str, Given], inputs: Mapping[str, Any], allowance: Allowance, budget: Budget
) -> dict[str, Case]:
    return {
        name: Case(
            name,
            each.values,
            allowance.gradients[name],
            budget.allowed(allowance, name),
            inputs,
            allowance.epsilon,
            each.returned,
        )
        for name, each in given.items()
    }


def _to_explain(case: Case) -> Any:
    """Return the wrong entries; all of them where the shapes differ."""
    return case.wrong if case.comparable else np.ones(case.reference.shape, dtype=bool)


def _explained(case: Case, allowance: Allowance, sides: Sides | None, probe: Probe, budget: Budget) -> Verdict:
    """Return code and message for a gradient that rounding does not explain."""
    finite = np.isfinite(case.reference)
    if case.comparable and not finite.all() and np.isfinite(case.manual).all():
        if not case.wrong[finite].any() and np.isfinite(allowance.reference.loss()):
            return "kink", "Autograd itself is not finite there: the loss has no derivative. The rest agrees."
        return "reference", "Autograd's own gradient is not finite: there is nothing to compare with."
    if sides and case.comparable and explains(sides, {case.name: case.manual}):
        return KINK
    code, message = _cause(case, allowance, probe, budget)
    if code in UNEXPLAINED and sides:
        for variant in variants(sides, case.name):
            seen = variant(case)
            if case.comparable and not seen.wrong.any():
                continue
            other, words = _cause(seen, allowance, probe, budget)
            if other not in UNEXPLAINED | {"precision"}:
                return other, f"{words} (Apart from entries at a kink of the loss.)"
        if case.comparable and sides.touch(case.name, case.wrong):
            message += " Those at a kink of the loss are no subgradient there."
    return code, message


def _cause(case: Case, allowance: Allowance, probe: Probe, budget: Budget) -> Verdict:
    """Return what the causes say."""
    lower = budget.lower(allowance, case.name)
    if case.comparable and case.returned.epsilon > case.epsilon:
        for each, allowed in lower:
            if each == case.returned and (np.abs(case.difference) <= allowed).all():
                return "precision", _returned_coarsely(case)
    return diagnose(case, partial(imprecise, lower=lower[:1], nudged=_nudges(case, allowance, probe)))


def _coarse_cause(case: Case, allowance: Allowance, probe: Probe, budget: Budget, search: bool) -> Verdict | None:
    """Return what the causes say of what nothing explains to the last bit; of precision alone before a search."""
    lower = budget.lower(allowance, case.name)
    nudged = _nudges(case, allowance, probe)
    slope = partial(_slope, case.name, allowance.reference)
    seen = bool(lower) and case.comparable and bool((np.abs(case.difference) <= lower[0][1]).all())

    def inexact(case: Case) -> str | None:
        return imprecise(case, () if seen else lower[1:], nudged) or finite_differences(case, slope)

    return coarse_cause(case, (lower[0][1] if lower else case.allowed) if search else None, inexact)


def _nudges(case: Case, allowance: Allowance, probe: Probe) -> Nudged:
    return partial(_nudged, case.name, allowance.reference, probe)


def _returned_coarsely(case: Case) -> str:
    return f"It is returned as {case.returned.name}, a lower precision than the inputs'."


def _nudged(name: str, reference: Reference, probe: Probe, amount: float) -> tuple[Array, Array] | None:
    """Return manual and reference gradient where the inputs are moved by a relative amount, or None."""
    found = probe(amount, True)
    if found is None:
        return None
    gradients, moved = found
    return (gradients[name], reference.at(moved).gradients()[name]) if name in gradients else None


def _slope(name: str, reference: Reference, index: tuple[int, ...], step: float) -> float:
    """Return one entry of the reference gradient where that entry of the input is changed by an amount."""
    moved = {other: exact(value) for other, value in reference.inputs.items()}
    moved[name][index] += step
    return float(reference.at(moved).gradients()[name][index])
