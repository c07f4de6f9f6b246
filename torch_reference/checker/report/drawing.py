"""The picture of a report: manual, reference and difference of each gradient as images side by side."""

from collections.abc import Sequence
from os import PathLike

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from torch_reference.checker.report.gradient import GradientReport


def draw(gradients: Sequence[GradientReport], path: str | PathLike[str]) -> None:
    """Draw one row for each gradient.

    Parameters
    ----------
    gradients : sequence of GradientReport
        What to draw.
    path : path
        Where to; the ending chooses the format.
    """
    figure = Figure(figsize=(11, 2.9 * len(gradients)), layout="constrained")
    axes = figure.subplots(len(gradients), 3, squeeze=False)
    for row, gradient in zip(axes, gradients, strict=True):
        manual, reference = np.asarray(gradient.manual, dtype=np.float64), gradient.reference
        panels = [("manual", manual), ("autograd", reference)]
        if manual.shape == reference.shape:
            with np.errstate(invalid="ignore"):
                panels.append(("manual - autograd", manual - reference))
        else:
            row[2].axis("off")
            row[2].text(
                0.5, 0.5, f"{manual.shape} and {reference.shape}\ncannot be subtracted", ha="center", va="center"
            )
        for axis, (title, values) in zip(row, panels, strict=False):
            limit = _largest(values) if title.startswith("manual -") else max(_largest(manual), _largest(reference))
            image = axis.imshow(
                _flat(values), cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="auto", interpolation="nearest"
            )
            axis.set_title(f"{gradient.name}: {title} {values.shape}", fontsize=9)
            figure.colorbar(image, ax=axis)
        row[0].set_ylabel(gradient.code, fontsize=11, fontweight="bold")
    figure.savefig(path, dpi=120)


def _flat(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return an array of any shape as a picture: the last axis runs to the right, all others down."""
    width = values.shape[-1] if values.ndim else 1
    picture = values.reshape(-1, width) if values.size else np.zeros((1, 1))
    return np.asarray(np.ma.masked_invalid(picture).filled(np.nan))


def _largest(values: NDArray[np.float64]) -> float:
    finite = np.abs(values[np.isfinite(values)])
    return float(finite.max(initial=0.0)) or 1.0
