"""What a folder of files came to: a grade for each, the table for people and plain data for programs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from textwrap import shorten
from typing import Any

from torch_reference.checker.report.results import Report

WIDTH = 100


@dataclass(frozen=True)
class Grade:
    """The verdict on one file.

    Attributes
    ----------
    file : str
        Its name.
    failure : str
        Why there is nothing to judge; empty where there is.
    report : Report or None
        The verdicts on its gradients.
    missing : sequence of str
        The gradients that it does not return.
    seconds : float
        How long it took.
    """

    file: str
    failure: str = ""
    report: Report | None = None
    missing: Sequence[str] = ()
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether every gradient that is wanted is there and right."""
        return self.report is not None and self.report.ok and not self.missing and not self.failure

    @property
    def result(self) -> str:
        """`right`, `wrong`, or `failed` where the file gave no gradients to judge."""
        return "right" if self.ok else "failed" if self.failure else "wrong"

    @property
    def message(self) -> str:
        """What people need to know, in one line."""
        if self.failure:
            return self.failure
        gradients = list(self.report.gradients.values()) if self.report else []
        wrong = [f"{gradient.name}: {gradient.code}. {gradient.message}" for gradient in gradients if not gradient.ok]
        wrong += [f"{name}: missing. manual returns no gradient for it." for name in self.missing]
        return " ".join(wrong) or ", ".join(f"{gradient.name} {gradient.code}" for gradient in gradients)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that `json` can write."""
        gradients = self.report.to_dict()["gradients"] if self.report else {}
        for name in self.missing:
            gradients[name] = {"ok": False, "code": "missing", "message": "manual returns no gradient for it."}
        return {
            "ok": self.ok,
            "result": self.result,
            "message": self.message,
            "seconds": round(self.seconds, 3),
            "gradients": gradients,
        }


@dataclass(frozen=True)
class Grades:
    """The verdicts on all files of a folder.

    Attributes
    ----------
    reference : str
        The file that defines inputs and loss.
    seed : int
        What the inputs were drawn with.
    wanted : sequence of str
        The gradients that each file had to give.
    grades : mapping of str to Grade
        By name of the file, in the order of the names.
    """

    reference: str
    seed: int
    wanted: Sequence[str]
    grades: Mapping[str, Grade]

    @property
    def ok(self) -> bool:
        """Whether every file is right."""
        return all(grade.ok for grade in self.grades.values())

    def to_dict(self) -> dict[str, Any]:
        """Return plain data that `json` can write."""
        return {
            "ok": self.ok,
            "reference": self.reference,
            "seed": self.seed,
            "wanted": list(self.wanted),
            "right": sum(grade.ok for grade in self.grades.values()),
            "total": len(self.grades),
            "files": {name: grade.to_dict() for name, grade in self.grades.items()},
        }

    def save(self, path: str | PathLike[str]) -> None:
        """Write an HTML page with a line for each file and, below it, the verdicts on its gradients."""
        from torch_reference.grading.page import grades_page  # loads matplotlib, which a table never needs

        Path(path).write_text(grades_page(self), encoding="utf-8")

    def __str__(self) -> str:
        """Return a table with a line for each file."""
        width = max([len(name) for name in self.grades] + [len("file")])
        lines = [f"{'file':{width}}  result  cause"]
        for name, grade in self.grades.items():
            room = max(WIDTH - width - 10, 30)
            lines.append(f"{name:{width}}  {grade.result:6}  {shorten(grade.message, room, placeholder=' ...')}")
        lines.insert(1, "-" * max(map(len, lines)))
        right = sum(grade.ok for grade in self.grades.values())
        lines.append(f"{right} of {len(self.grades)} files are right (seed {self.seed}: {', '.join(self.wanted)})")
        return "\n".join(lines)
