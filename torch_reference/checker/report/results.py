"""What a check found: frozen results, the table for people, plain data for programs, and the picture."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from os import PathLike
from textwrap import wrap
from typing import Any

import numpy as np
from numpy.typing import NDArray

WIDTH = 100


@dataclass(frozen=True)
class Entry:
    """One entry of a gradient: the one that exceeds its allowance most.

    Attributes
    ----------
    index : tuple of int
        Where it is.
    manual, reference : float
        Both values.
    allowed : float
        The difference that rounding explains.
    """

    index: tuple[int, ...]
    manual: float
    reference: float
    allowed: float


@dataclass(frozen=True, eq=False)
class GradientReport:
    """The verdict on one gradient.

    Attributes
    ----------
    name : str
        The input that the loss is differentiated by.
    code : str
        One of the codes that docs/crosscheck.md lists.
    message : str
        The cause in words.
    manual : array
        The gradient under test as it was returned.
    reference : float64 array
        Autograd's.
    wrong : int
        How many entries differ by more than rounding.
    worst : Entry or None
        The worst entry, where the shapes agree.
    error : float
        Largest difference in units of what rounding allows.
    """

    name: str
    code: str
    message: str
    manual: NDArray[Any]
    reference: NDArray[np.float64]
    wrong: int = 0
    worst: Entry | None = None
    error: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether the gradient is right."""
        return self.code in {"match", "kink"}

    def to_dict(self) -> dict[str, Any]:
        """Return the verdict as plain data, without the arrays."""
        worst = None
        if self.worst:
            worst = {
                "index": list(self.worst.index),
                "manual": _plain(self.worst.manual),
                "reference": _plain(self.worst.reference),
                "allowed": _plain(self.worst.allowed),
            }
        return {
            "ok": self.ok,
            "code": self.code,
            "message": self.message,
            "shape": list(self.manual.shape),
            "dtype": str(self.manual.dtype),
            "entries": int(self.reference.size),
            "wrong": self.wrong,
            "error": _plain(self.error),
            "worst": worst,
        }


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
        rows += [_row(gradient) for gradient in self.gradients.values()]
        widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
        lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
        lines = [line if len(line) <= WIDTH else line[: WIDTH - 3] + "..." for line in lines]
        lines.insert(1, "-" * max(len(line) for line in lines))
        lines.append(f"{right} of {total} gradients agree with autograd")
        for gradient in self.gradients.values():
            if gradient.code != "match":
                lines += ["", *_details(gradient)]
        if self.note:
            lines += ["", *wrap(self.note, WIDTH)]
        return "\n".join(lines)

    def plot(self, path: str | PathLike[str]) -> None:
        """Draw manual, reference and difference side by side for each wrong gradient.

        Parameters
        ----------
        path : path
            The picture; its ending chooses the format.

        Raises
        ------
        ValueError
            If every gradient is right: there is nothing to draw.
        """
        from torch_reference.checker.report.drawing import draw

        wrong = [gradient for gradient in self.gradients.values() if not gradient.ok]
        if not wrong:
            raise ValueError("every gradient is right: there is nothing to draw")
        draw(wrong, path)


def _row(gradient: GradientReport) -> tuple[str, ...]:
    shape = str(tuple(gradient.manual.shape)).replace(" ", "")
    wrong = f"{gradient.wrong:,} of {gradient.reference.size:,}" if gradient.wrong else "none"
    name = gradient.name if len(gradient.name) <= 30 else gradient.name[:27] + "..."
    return name, shape, gradient.code, f"{gradient.error:.2g}" if gradient.worst or gradient.ok else "-", wrong


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


def _plain(value: float) -> float | str:
    return float(value) if math.isfinite(value) else str(float(value))
