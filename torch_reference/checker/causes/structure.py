"""Causes that leave the right numbers in the wrong place or shape, and the words for where wrong entries are."""

import math
from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from torch_reference.checker.case import Case, agree, ratio

Mask = NDArray[np.bool_]
SHOWN = 8  # so many indices are listed in a message
AXES = ("row", "column")
CHANCE = 40.0  # times the allowance: where two draws differ by less, sorted values tell nothing
FAIR = 0.2  # share of right entries from which a gradient counts as right in part


def wrong_shape(case: Case) -> tuple[str, str]:
    """Return code and message for a gradient whose shape is not that of its input."""
    manual, reference = case.manual, case.reference
    shapes = f"manual has shape {manual.shape}, the input {reference.shape}"
    if manual.ndim == reference.ndim:
        for one, two in combinations(range(manual.ndim), 2):
            swapped = manual.swapaxes(one, two)
            if swapped.shape == reference.shape and agree(swapped, reference, case.allowed):
                return "transpose", f"{shapes}: axes {one} and {two} are swapped."
    if manual.size == reference.size:
        if agree(manual.reshape(reference.shape), reference, case.allowed):
            return "shape", f"The values are right, but {shapes}: return it with .reshape({reference.shape})."
        if manual.T.shape == reference.shape and agree(manual.T, reference, case.allowed):
            return "transpose", f"{shapes}: all axes are reversed."
    for axes in _some_axes(manual.ndim):
        total = manual.sum(axis=axes)
        if total.size == reference.size:
            factor = ratio(case.with_manual(total.reshape(reference.shape))) or 0.0
            if factor > 0:
                return "unreduced", _unreduced(shapes, axes, factor, [manual.shape[axis] for axis in axes])
    return "", shapes + "."


def _unreduced(shapes: str, axes: tuple[int, ...], factor: float, sizes: list[int]) -> str:
    if math.isclose(factor, 1, rel_tol=1e-6):
        return f"{shapes}: the sum over {_axes(axes)} is missing."
    if math.isclose(factor, math.prod(sizes), rel_tol=1e-6):
        return f"{shapes}: the mean over {_axes(axes)} is missing."
    return (
        f"{shapes}: the sum over {_axes(axes)} is missing, and what it gives is {factor:.6g} times the right gradient."
    )


def transposed(case: Case) -> str | None:
    """Two axes of equal length are swapped, or all are reversed."""
    for one, two in combinations(range(case.manual.ndim), 2):
        swapped = case.manual.swapaxes(one, two)
        if swapped.shape == case.reference.shape and agree(swapped, case.reference, case.allowed):
            return f"Axes {one} and {two} are swapped: transpose it."
    if case.manual.T.shape == case.reference.shape and agree(case.manual.T, case.reference, case.allowed):
        return "All axes are reversed: transpose it."
    return None


def permuted(case: Case) -> str | None:
    """Recognise the right slices along an axis, or all entries, in another order."""
    manual, reference, allowed = case.manual, case.reference, case.allowed
    if np.count_nonzero(case.nontrivial) < 2:
        return None
    for axes in _some_axes(manual.ndim):
        if agree(np.flip(manual, axes), reference, allowed):
            return f"The right values, reversed along {_axes(axes)}."
    for axis, size in enumerate(manual.shape):
        if order := _order(manual, reference, allowed, axis):
            shift = order[0]
            if order == [(number + shift) % size for number in range(size)]:
                return f"The right values, shifted by {shift} (and wrapped around) along axis {axis} of length {size}."
            moved = [number for number, source in enumerate(order) if number != source]
            pairs = ", ".join(f"{number} holds what belongs to {order[number]}" for number in moved[:3])
            return f"The right values in another order along axis {axis}: {pairs}{', ...' if len(moved) > 3 else ''}."
    return _shifted(case) or _shuffled(case)


def _order(
    manual: NDArray[np.float64], reference: NDArray[np.float64], allowed: NDArray[np.float64], axis: int
) -> list[int]:
    """Return which slice of the reference each slice of manual is, or nothing.

    Both are sorted by their product with one random vector, and then compared entry by entry.
    """
    size = manual.shape[axis]
    first, second, bound = (np.moveaxis(array, axis, 0).reshape(size, -1) for array in (manual, reference, allowed))
    largest = np.abs(second).max(initial=0.0) or 1.0
    direction = np.random.default_rng(0).standard_normal(first.shape[1])
    by_first, by_second = np.argsort(first / largest @ direction), np.argsort(second / largest @ direction)
    if not agree(first[by_first], second[by_second], bound[by_second]):
        return []
    order = np.empty(size, dtype=int)
    order[by_first] = by_second
    return [int(number) for number in order]


def _shifted(case: Case) -> str | None:
    """Without wrapping around: what moved in at the edge is not from the array."""
    manual, reference = case.manual, case.reference
    for axis, size in enumerate(manual.shape):
        whole = (slice(None),) * axis
        for shift in (1, -1, 2, -2):
            if abs(shift) >= size - 1:
                continue
            one = (*whole, slice(max(shift, 0), size + min(shift, 0)))
            two = (*whole, slice(max(-shift, 0), size - max(shift, 0)))
            enough = np.count_nonzero(case.nontrivial[two]) >= max(2, int(np.count_nonzero(case.nontrivial)) // 2)
            varied = (np.abs(reference[one] - reference[two]) > case.allowed[two]).any()
            if enough and varied and agree(manual[one], reference[two], case.allowed[two]):
                return f"The right values, shifted by {shift} along axis {axis}."
    return None


def _shuffled(case: Case) -> str | None:
    manual, reference, allowed = case.manual.ravel(), case.reference.ravel(), case.allowed.ravel()
    order = np.argsort(reference)
    told = np.abs(reference) > allowed
    gaps = np.diff(np.sort(reference[told]))
    if not gaps.size or np.sqrt(gaps.size) * np.median(gaps) < CHANCE * np.median(allowed[told]):
        return None  # two draws of the same kind, sorted, differ no more than that
    if np.unique(reference).size > 2 and agree(np.sort(manual), reference[order], allowed[order]):
        return "The right values in the wrong order: an array was reshaped where its axes should have been moved?"
    return None


def partly_wrong(case: Case) -> str | None:
    """Only some rows, columns or entries are wrong."""
    wrong, nontrivial = case.wrong, case.nontrivial
    right = np.count_nonzero(nontrivial & ~wrong)
    if not right:
        return None
    share = right / np.count_nonzero(nontrivial)
    absent = not case.manual[wrong].any()
    slices = _whole_slices(wrong, nontrivial)
    if share < FAIR and not (absent and (slices or share > FAIR / 4)):
        return None
    zeros = " They are zero in manual." if absent else ""
    factor = ratio(case.only(wrong))
    scaled = (
        f" There manual is {factor:.6g} times the right gradient."
        if factor is not None and not math.isclose(factor, 1, rel_tol=1e-4)
        else ""
    )
    return where(wrong, nontrivial) + zeros + scaled


def _whole_slices(wrong: Mask, nontrivial: Mask) -> bool:
    """Say whether the wrong entries fill whole slices along an axis, and at least one slice is right."""
    for axis in range(wrong.ndim):
        others = tuple(other for other in range(wrong.ndim) if other != axis)
        bad = np.asarray(wrong.any(axis=others))
        full = (wrong | ~nontrivial).all(axis=others)
        if (full | ~bad).all() and (~bad & nontrivial.any(axis=others)).any():
            return True
    return False


def where(wrong: Mask, nontrivial: Mask | None = None) -> str:
    """Say in words which entries are wrong."""
    total = np.count_nonzero(wrong)
    if wrong.ndim == 0:
        return "Its only entry is wrong."
    if wrong.ndim == 1:
        return f"{total} of {wrong.size} entries are wrong: {ranges(np.flatnonzero(wrong))}."
    nontrivial = np.ones(wrong.shape, dtype=bool) if nontrivial is None else nontrivial
    parts = []
    best: tuple[float, str] | None = None
    for axis, size in enumerate(wrong.shape):
        others = tuple(other for other in range(wrong.ndim) if other != axis)
        bad = np.asarray(wrong.any(axis=others))
        name = AXES[axis] if wrong.ndim == 2 else f"index on axis {axis}"
        plural = {"row": "rows", "column": "columns"}.get(name, f"indices on axis {axis}")
        listed = ranges(np.flatnonzero(bad))
        if np.asarray((wrong | ~nontrivial).all(axis=others))[bad].all() and not bad.all():
            words = f"{np.count_nonzero(bad)} of {size} {plural} {'is' if bad.sum() == 1 else 'are'} wrong: {listed}."
            if best is None or bad.mean() < best[0]:
                best = (float(bad.mean()), words)
        if not bad.all():
            parts.append(f"{name if bad.sum() == 1 else plural} {listed}")
    if best:
        return best[1]
    if total <= 3:
        entries = ", ".join(str([int(i) for i in index]) for index in np.argwhere(wrong))
        return f"{total} of {wrong.size:,} entries {'is' if total == 1 else 'are'} wrong: {entries}."
    return f"{total:,} of {wrong.size:,} entries are wrong" + (f", all in {' and '.join(parts)}." if parts else ".")


def ranges(indices: Sequence[int] | NDArray[np.intp]) -> str:
    """Write sorted indices compactly: 0, 3-5, 9."""
    runs: list[list[int]] = []
    for index in map(int, indices):
        if runs and index == runs[-1][1] + 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    words = [str(first) if first == last else f"{first}-{last}" for first, last in runs]
    return ", ".join(words[:SHOWN]) + (", ..." if len(words) > SHOWN else "")


def _some_axes(number: int) -> Iterator[tuple[int, ...]]:
    """Yield every choice of at least one axis, single ones first."""
    return (axes for others in range(number) for axes in combinations(range(number), others + 1))


def _axes(axes: tuple[int, ...]) -> str:
    return f"axis {axes[0]}" if len(axes) == 1 else f"axes {', '.join(map(str, axes))}"
