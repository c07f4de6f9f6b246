"""Whether gradients that no simple cause explains are those of a reference with one step derived wrongly."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import numpy as np

from torch_reference.checker.allowance import Allowance
from torch_reference.checker.case import FEW, MANY, Case, Probe
from torch_reference.checker.causes.diagnosis import Verdict
from torch_reference.checker.derivations.derivation import Derivation, derivation
from torch_reference.checker.derivations.target import Target
from torch_reference.checker.formats import FLOAT32, Array
from torch_reference.checker.reference.evaluation import Reference

UNEXPLAINED = {"mismatch", "partial"}
WITHOUT_PLACE = UNEXPLAINED | {"term"}
OTHER_KINDS = {"kink", "precision", "nonfinite", "shape", "unreduced"}  # nothing that a step of the derivation does
STEPS = 4  # of their own precision, at least
ALONE = 3  # gradients that are explained one by one, if there was time to try all changes on them together
NEARBY = 1e-3  # how far inputs move to see whether an explanation holds there too, relative


def derived(
    cases: Mapping[str, Case], verdicts: Mapping[str, Verdict], allowance: Allowance, probe: Probe
) -> dict[str, Verdict]:
    """Return better verdicts on gradients that are `mismatch` or `partial`, and on those wrong for the same reason.

    All wrong gradients have to come from one wrong step; else those that no simple cause explains, or each from one.
    """
    noisy = {name for name, case in cases.items() if _perhaps_noise(case, verdicts[name][0])}
    other = {name for name in cases if verdicts[name][0] in OTHER_KINDS} - noisy
    seen = {name: case for name, case in cases.items() if name not in other and case.finite}
    wrong = [name for name in seen if not seen[name].right]
    unexplained = [
        name
        for name in wrong
        if (verdicts[name][0] in UNEXPLAINED and not _few(seen[name])) or _way_of_another(name, *verdicts[name])
    ] or [name for name in wrong if name in noisy]
    explained: dict[str, Verdict] = {}
    ended = 0
    for names in _together(wrong, unexplained):
        if explained.keys() & set(names) or (ended and len(names) < len(unexplained)):
            continue
        shown = {name: case for name, case in seen.items() if case.right or name in names}
        with np.errstate(all="ignore"):  # a change of a step may overflow
            found = derivation(
                replace(allowance.reference, wanted=tuple(shown)),
                _target({name: case.manual for name, case in shown.items()}, shown, names),
                partial(_moved, shown, names, allowance.reference, probe),
            )
        if isinstance(found, Derivation):
            code = _code(found, names, verdicts)
            explained |= {name: _with_place(verdicts[name], code, found.message) for name in found.affected}
        else:
            ended = found or ended
    words = f" The search for the step that went wrong ended after {ended:,} changes." if ended else ""
    return {
        name: (verdicts[name][0], verdicts[name][1] + words) for name in unexplained if verdicts[name][0] in UNEXPLAINED
    } | explained


def _together(wrong: list[str], unexplained: list[str]) -> list[list[str]]:
    """Return the gradients that one step may explain together, the most first; at last each alone."""
    groups = [wrong, unexplained, *([name] for name in unexplained[:ALONE])] if unexplained else []
    return [group for place, group in enumerate(groups) if group not in groups[:place]]


def searched(case: Case, code: str) -> bool:
    """Say whether a verdict leaves the question open which step went wrong."""
    return code in WITHOUT_PLACE or _perhaps_noise(case, code)


def _perhaps_noise(case: Case, code: str) -> bool:
    """Say whether only noise of a low precision on every operation explains a gradient: it would excuse much else."""
    return code == "precision" and FLOAT32.epsilon < case.returned.epsilon <= case.epsilon


def _few(case: Case) -> bool:
    """Say whether no more than a few of many entries are wrong: no step of a derivation does that."""
    return case.wrong.size >= MANY and int(np.count_nonzero(case.wrong)) <= FEW


def _way_of_another(name: str, code: str, message: str) -> bool:
    """Say whether a term is that of another input: a skip that is left out or counted twice, and has a line."""
    return code == "term" and f" {name}:" not in message and f"({name}):" not in message


def _with_place(verdict: Verdict, code: str, message: str) -> Verdict:
    """Return what was found; a term stays one, and gets its line."""
    return ("term", f"{verdict[1]} {message}") if verdict[0] == "term" else (code, message)


def _code(found: Derivation, wrong: list[str], verdicts: Mapping[str, Verdict]) -> str:
    """Return the code of the cause nearer to the loss: the factor, if there are gradients that are off by it alone."""
    alone = [verdicts[name][0] for name in wrong if name not in found.affected]
    return alone[0] if found.factor != 1 and alone and alone[0] in {"scale", "sign"} else found.code


def _target(manual: Mapping[str, Array], cases: Mapping[str, Case], wrong: list[str]) -> Target:
    right = {name: case.reference for name, case in cases.items()}
    allowed = {name: case.allowed for name, case in cases.items()}
    return Target(manual, right, allowed, wrong, next(iter(cases.values())).epsilon)


def _moved(
    cases: Mapping[str, Case], wrong: list[str], reference: Reference, probe: Probe
) -> tuple[Reference, Target] | None:
    """Return the reference and the gradients where the inputs that have a gradient are moved a little.

    Others stay: `manual` may rely on what they are, as on targets that add up to 1. What is wrong where entries tie is
    right there, and is held to the right gradient.
    """
    found = probe(max(NEARBY, STEPS * reference.coarsest.epsilon), False)
    if found is None or not set(cases) <= set(found[0]):
        return None
    there = replace(reference, inputs=found[1], wanted=tuple(cases))
    right = there.gradients()
    moved = {name: replace(case, manual=found[0][name], reference=right[name]) for name, case in cases.items()}
    return there, _target(found[0], moved, [name for name in wrong if not moved[name].right])
