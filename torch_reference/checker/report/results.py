"""What a check found: the table for people, plain data for programs, and the picture."""

from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from textwrap import wrap
from typing import Any

from torch_reference.checker.report.gradient import GradientReport

WIDTH = 100

VACUOUS = "autograd's gradient is zero everywhere, so that the check proves nothing: try other inputs."


@dataclass(frozen=True, eq=False)
class Report:
    """The verdicts on all gradients that were checked.

    Attributes
    ----------
    gradients : mapping of str to GradientReport
        In the order in which `manual` returned them.
    note : str
        Where the mistake enters, if that can be said.
    """

    gradients: Mapping[str, GradientReport]
    note: str = ""

    @property
    def ok(self) -> bool:
        """Whether all gradients are right."""
        return all(gradient.ok for gradient in self.gradients.values())

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that `json` can write; numbers that are not finite become strings."""
        gradients = {name: gradient.to_dict() for name, gradient in self.gradients.items()}
        return {"ok": self.ok, "note": self.note, "gradients": gradients}

    def __str__(self) -> str:
        """Return a table of at most 100 columns, and the details of what is wrong below it."""
        total, right = len(self.gradients), sum(gradient.ok for gradient in self.gradients.values())
        rows: list[tuple[str, ...]] = [("gradient", "shape", "code", "error / allowed", "wrong entries")]
        for name, *cells in map(row, self.gradients.values()):
            rows.append((name if len(name) <= 30 else name[:27] + "...", *cells))
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        lines = [line if len(line) <= WIDTH else line[: WIDTH - 3] + "..." for line in lines]
        lines.insert(1, "-" * max(len(line) for line in lines))
        lines.append(f"{right} of {total} gradients agree with autograd")
        for gradient in self.gradients.values():
            if gradient.code != "match":
                lines += ["", *_details(gradient)]
        if vacuous := [name for name, gradient in self.gradients.items() if gradient.vacuous and gradient.ok]:
            lines += ["", *wrap(f"{', '.join(vacuous)}: {VACUOUS}", WIDTH)]
        if self.note:
            lines += ["", *wrap(self.note, WIDTH)]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the table with colours, the causes, and pictures of what is wrong."""
        from torch_reference.checker.report.page import notebook  # loads matplotlib, which most checks never need

        return notebook(self)

    def save(self, path: str | PathLike[str], title: str = "Gradients checked against autograd") -> None:
        """Write the report as one HTML page, which needs no other file and no network.

        Parameters
        ----------
        path : path
            The page.
        title : str
            Its heading.
        """
        from torch_reference.checker.report.page import fragment, page

        Path(path).write_text(page(title, fragment(self)), encoding="utf-8")

    def plot(self, path: str | PathLike[str]) -> None:
        """Draw each wrong gradient: manual, autograd, and what the verdict is about (ratio, or difference).

        Parameters
        ----------
        path : path
            The picture; its ending chooses the format.

        Raises
        ------
        ValueError
            If every gradient is right: there is nothing to draw.
        """
        from torch_reference.checker.report.drawing import draw  # loads matplotlib, which most checks never need

        wrong = [gradient for gradient in self.gradients.values() if not gradient.ok]
        if not wrong:
            raise ValueError("every gradient is right: there is nothing to draw")
        draw(wrong, path)


def row(gradient: GradientReport) -> tuple[str, str, str, str, str]:
    """Return name, shape, code, error in units of the allowance, and number of wrong entries, as people read them."""
    shape = str(tuple(gradient.manual.shape)).replace(" ", "")
    compared = gradient.worst is not None or gradient.ok
    error = f"{gradient.error:.2g}" if compared else "-"
    wrong = f"{gradient.wrong:,} of {gradient.reference.size:,}" if gradient.wrong else "none" if compared else "-"
    return gradient.name, shape, gradient.code, error, wrong


def _details(gradient: GradientReport) -> list[str]:
    lines = wrap(f"{gradient.name}: {gradient.code}. {gradient.message}", WIDTH, subsequent_indent="    ")
    if gradient.worst:
        worst = gradient.worst
        difference = abs(worst.manual - worst.reference)
        place = ", ".join(map(str, worst.index))
        lines += wrap(
            f"worst entry [{place}]: manual {worst.manual:.10g}, autograd {worst.reference:.10g}, "
            f"difference {difference:.2e}, allowed {worst.allowed:.2e}",
            WIDTH,
            initial_indent="    ",
            subsequent_indent="    ",
        )
    return lines
