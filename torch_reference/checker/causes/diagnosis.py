"""Why a gradient is wrong: one small function for each cause, tried in the order of `CAUSES`.

A cause gets a `Case` and returns a message, or None when it does not explain the gradient entry by entry to rounding.
Specific causes come first. What is left is `partial` if a fair part of the gradient is right, and else `mismatch`.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from torch_reference.checker.blocks import all_finite, blocks
from torch_reference.checker.case import SLACK, Case, agree, fit, ratio
from torch_reference.checker.causes.factors import CLOSE, LOOSE, describe
from torch_reference.checker.causes.structure import partly_wrong, permuted, transposed, where, wrong_shape
from torch_reference.checker.formats import FLOAT32, Array

Verdict = tuple[str, str]
UPSTREAM = "the upstream gradient of "  # how a function's face calls those
TELLING = 3  # entries that are clearly wrong, below which a number that fits says little
MENDED = 0.2  # a cause explains a difference if it leaves less than a fifth of it


def diagnose(case: Case, imprecise: Callable[[Case], str | None]) -> Verdict:
    """Return the code and the message for a gradient that is wrong.

    Parameters
    ----------
    case : Case
        The gradient.
    imprecise : callable
        Returns a message if the error is that of a lower precision.
    """
    if found := simple_cause(case):
        return found
    if not case.comparable:
        _, words = wrong_shape(case)
        if case.manual.size != case.reference.size:
            return "mismatch", words
        inner = case.with_manual(case.manual.reshape(case.reference.shape))
        code, inner_words = diagnose(inner, imprecise)
        return code, f"{words} Reshaped: {inner_words}"
    if message := imprecise(case):
        return "precision", message
    if message := partly_wrong(case):
        return "partial", message
    return "mismatch", mismatch(case)


def coarse_cause(case: Case, low: Array | None, inexact: Callable[[Case], str | None]) -> Verdict | None:
    """Return code and message if one cause explains every entry to the rounding of a lower precision.

    That is weaker evidence than an explanation to the last bit, so it is asked for only where there is none.

    Parameters
    ----------
    case : Case
        The gradient.
    low : float64 array or None
        What rounding would explain in the next lower precision; None if no other cause than precision is asked for.
    inexact : callable
        Returns a message if the error is that of a still lower precision, or of finite differences.
    """
    if not case.comparable:
        return None
    if message := inexact(case):
        return "precision", message
    if low is None:
        return None
    loose = replace(case, allowed=np.minimum(low, MENDED / SLACK * np.abs(case.difference).max(initial=0.0)))
    if loose.wrong.any() and not agree(case.manual, case.reference, low):
        if message := passed_on(case):
            return "derivative", message
        for code, cause in CAUSES:
            if message := cause(loose):
                return code, message + " (In a lower precision than the inputs'.)"
    return None


@np.errstate(over="ignore", invalid="ignore")  # products with a factor may leave the range: then it does not fit
def simple_cause(case: Case) -> Verdict | None:
    """Return code and message if one cause explains every entry to rounding."""
    if not case.comparable:
        code, message = wrong_shape(case)
        return (code, message) if code else None
    if words := nonfinite(case):
        return "nonfinite", words
    most = float(case.excess.max(initial=0.0))
    if most <= SLACK:  # too near for any cause but a few wrong entries
        return None
    close = case if most >= SLACK / MENDED else replace(case, allowed=MENDED / SLACK * most * case.allowed)
    for code, cause in CAUSES:
        if words := cause(close):
            return code, words
    return None


def nonfinite(case: Case) -> str | None:
    """NaN or infinity where the reference is finite."""
    if all_finite(case.manual):
        return None
    bad = ~np.isfinite(case.manual) & np.isfinite(case.reference)
    if not bad.any():
        return None
    kinds = [word for word, test in (("NaN", np.isnan), ("infinity", np.isinf)) if test(case.manual[bad]).any()]
    return f"{' and '.join(kinds)} where autograd is finite. {where(bad)}"


def zero(case: Case) -> str | None:
    """All zeros."""
    return "It is all zeros, but the right gradient is not." if not case.manual.any() else None


def sign(case: Case) -> str | None:
    """Recognise the negative of the right gradient."""
    return "It is the negative of the right gradient." if agree(case.manual, case.reference, case.allowed, -1) else None


def scale(case: Case) -> str | None:
    """Recognise a constant times the right gradient."""
    factor = ratio(case)
    if factor is None or abs(factor - 1) < FLOAT32.epsilon or (usual := _usual_allowance(case)) is None:
        return None  # so near to 1: see `rounded_constant`
    words = describe(factor, case.inputs, max(CLOSE, min(LOOSE, usual)))
    if not words and np.count_nonzero(case.nontrivial) < 2:
        return None  # any number is a multiple of a single other one
    if not _mends(factor, case):
        return None  # what is wrong is something else
    negative = " and has the wrong sign" if np.signbit(factor) else ""
    return f"manual = {factor:.9g} * right gradient{negative}{': ' + words if words else ''}."


def _mends(factor: float, case: Case) -> bool:
    """Say whether a factor leaves far less of the difference than there is, in the entry where that is most."""
    limit = MENDED * case.excess.max(initial=0.0)
    return all(
        bool((np.abs(case.manual[rows] - factor * case.reference[rows]) / case.allowed[rows] < limit).all())
        for rows in blocks(case.reference)
    )


def _usual_allowance(case: Case) -> float | None:
    """Return what is allowed to entries that are more than rounding, relative to them: the median of blocks' medians.

    None if there are no such entries.
    """
    found = []
    for rows in blocks(case.reference):
        sizes, allowed = np.abs(case.reference[rows]), case.allowed[rows]
        if (significant := sizes > allowed).any():
            found.append(np.median(allowed[significant] / sizes[significant]))
    return float(np.median(found)) if found else None


def rounded_constant(case: Case) -> str | None:
    """Off by a factor so near to 1 that a constant in the formula must have been rounded to float32."""
    factor = ratio(case)
    if (
        factor is None
        or abs(factor - 1) >= FLOAT32.epsilon
        or case.epsilon >= FLOAT32.epsilon
        or np.count_nonzero(case.nontrivial) < 2
    ):
        return None
    return f"The formula is right, but off by the factor {factor:.12g}: a constant was rounded to float32?"


def term(case: Case) -> str | None:
    """Recognise a constant times an input, or times its sign, that is too much or too little."""
    rest = case.difference
    if not np.isfinite(rest).all():
        return None
    told = np.count_nonzero(case.excess > SLACK) >= min(TELLING, max(2, case.excess.size))
    own_first = sorted(case.inputs, key=lambda name: name != case.name)
    for name in own_first:
        values = np.asarray(case.inputs[name])
        if values.shape != case.reference.shape or values.dtype.kind not in "fiub":
            continue
        for words, direction in (
            (name, values.astype(np.float64)),
            (f"sign({name})", np.sign(values.astype(np.float64))),
        ):
            coefficient = fit(rest, direction, case.allowed, case.epsilon)
            part = coefficient * direction
            allowed = case.allowed + case.epsilon * np.abs(part)
            if not coefficient or not (np.abs(part) > allowed).any() or not agree(rest, part, allowed):
                continue
            if not told and not _round(coefficient):
                continue  # any number is a multiple of a single other one
            missing, extra = ("-", "missing, or has the wrong sign"), ("+", "too much: extra, or counted twice")
            symbol, side = missing if np.signbit(coefficient) else extra
            shown = f"{abs(coefficient):.6g} * {words}"
            return f"manual = right gradient {symbol} {shown}: the term {shown} is {side}."
    return None


def passed_on(case: Case) -> str | None:
    """Recognise an upstream gradient that is passed on as it came, or times a number."""
    for name, values in case.inputs.items():
        if name.startswith(UPSTREAM) and np.shape(values) == case.manual.shape:
            allowed = case.allowed + case.epsilon * np.abs(values)
            factor = ratio(replace(case, reference=np.asarray(values, np.float64), allowed=allowed))
            if factor is not None and np.count_nonzero(case.excess > SLACK) >= 2:
                times = "" if math.isclose(factor, 1, rel_tol=1e-6) else f"{factor:.6g} times "
                return f"It is {times}{name}: the derivative of what lies between is left out."
    return None


def _round(number: float) -> bool:
    """Say whether a number has at most two digits, as constants that people choose have."""
    return math.isclose(float(f"{number:.1e}"), number, rel_tol=CLOSE)


def mismatch(case: Case) -> str:
    """Say what can be said about a gradient that no cause explains."""
    finite = np.isfinite(case.manual) & np.isfinite(case.reference)
    one, two = case.manual[finite], case.reference[finite]
    length = float(np.linalg.norm(one) * np.linalg.norm(two))
    alike = f" The cosine of the angle to the right gradient is {np.sum(one * two) / length:.4f}." if length else ""
    return where(case.wrong, case.nontrivial) + alike


CAUSES: tuple[tuple[str, Callable[[Case], str | None]], ...] = (
    ("zero", zero),
    ("sign", sign),
    ("scale", scale),
    ("precision", rounded_constant),
    ("transpose", transposed),
    ("permutation", permuted),
    ("term", term),
)
