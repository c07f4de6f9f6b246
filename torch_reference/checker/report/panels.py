"""What the picture of a wrong gradient shows: both gradients, and what the verdict is about."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from torch_reference.checker.report.gradient import GradientReport

Picture = NDArray[np.float64]

COMPARABLE = 4.0
"""Gradients whose largest entries differ by less than this factor share one range of colours."""

RATIOS = {"scale", "sign"}
"""The codes whose cause is one factor."""


@dataclass(frozen=True, eq=False)
class Panel:
    """One image.

    Attributes
    ----------
    title : str
        What it shows.
    values : float64 array
        In two dimensions; NaN where there is nothing to show.
    low, high : float
        The ends of the range of colours.
    """

    title: str
    values: Picture
    low: float
    high: float


def panels(gradient: GradientReport) -> list[Panel]:
    """Return the panels of a gradient: manual, autograd, and what the verdict is about if the shapes agree.

    That is the ratio where the code says a factor, and elsewhere the difference at the entries that are wrong. Manual
    and autograd share a range where that shows both.
    """
    manual, reference = np.asarray(gradient.manual, dtype=np.float64), gradient.reference
    largest = _largest(manual), _largest(reference)
    if max(largest) < COMPARABLE * min(largest):
        largest = max(largest), max(largest)
    shown = [
        _around_zero(f"manual {_shape(manual)}", manual, largest[0]),
        _around_zero(f"autograd {_shape(reference)}", reference, largest[1]),
    ]
    if manual.shape != reference.shape:
        return shown
    with np.errstate(all="ignore"):
        if gradient.code in RATIOS:
            ratio = np.where(np.abs(reference) > 1e-9 * _largest(reference), manual / reference, np.nan)
            middle = float(np.nanmedian(ratio))
            return [*shown, Panel("manual / autograd", _flat(ratio), min(middle, 0.0), max(middle, 1.0))]
        difference = manual - reference
    if gradient.marked is None or gradient.marked.all():
        return [*shown, _around_zero("manual - autograd", difference, _largest(difference))]
    difference[~gradient.marked] = np.nan
    title = f"manual - autograd at the {gradient.wrong:,} wrong of {reference.size:,} entries"
    return [*shown, _around_zero(title, difference, _largest(difference))]


def _around_zero(title: str, values: Picture, limit: float) -> Panel:
    return Panel(title, _flat(values), -limit, limit)


def _flat(values: Picture) -> Picture:
    """Return an array of any shape in two dimensions: the last axis runs to the right, all others down."""
    width = values.shape[-1] if values.ndim else 1
    picture = values.reshape(-1, width) if values.size else np.full((1, 1), np.nan)
    return np.where(np.isfinite(picture), picture, np.nan)


def _largest(values: Picture) -> float:
    finite = np.abs(values[np.isfinite(values)])
    return float(finite.max(initial=0.0)) or 1.0


def _shape(values: Picture) -> str:
    return str(values.shape).replace(" ", "")
