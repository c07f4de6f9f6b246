"""The panels of a report as images: all in one file, or each of them as PNG for a page."""

from collections.abc import Sequence
from io import BytesIO
from os import PathLike

from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, MaxNLocator

from torch_reference.checker.report.gradient import GradientReport
from torch_reference.checker.report.panels import Panel, panels

MAP = colormaps["RdBu_r"].with_extremes(bad="0.8")
"""Grey where there is nothing to show: right entries, NaN, infinity."""


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
    for row, gradient in zip(figure.subplots(len(gradients), 3, squeeze=False), gradients, strict=True):
        shown = panels(gradient)
        for axes, panel in zip(row, shown, strict=False):
            _image(figure, axes, panel)
            axes.set_title(f"{gradient.name}: {panel.title}" if panel is shown[0] else panel.title, fontsize=9)
        if len(shown) < len(row):
            row[-1].axis("off")
            row[-1].text(0.5, 0.5, "the shapes differ:\nno difference can be drawn", ha="center", va="center")
        row[0].set_ylabel(gradient.code, fontsize=11, fontweight="bold")
    figure.savefig(path, dpi=120)


def png(panel: Panel) -> bytes:
    """Draw one panel."""
    figure = Figure(figsize=(3.6, 2.6), layout="constrained")
    _image(figure, figure.subplots(), panel)
    buffer = BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _image(figure: Figure, axes: Axes, panel: Panel) -> None:
    image = axes.imshow(panel.values, cmap=MAP, vmin=panel.low, vmax=panel.high, aspect="auto", interpolation="nearest")
    for axis, count in zip((axes.yaxis, axes.xaxis), panel.values.shape, strict=True):
        axis.set_major_locator(MaxNLocator(nbins=5, integer=True) if count > 1 else FixedLocator([0]))
    figure.colorbar(image, ax=axes)
