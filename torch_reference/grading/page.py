"""The grades of a folder as one HTML page."""

from html import escape

from torch_reference.checker.report.page import fragment, mark, page
from torch_reference.checker.report.results import Report
from torch_reference.grading.grades import Grade, Grades

LEVELS = {"right": "right", "wrong": "wrong", "failed": "wrong"}

WHAT_IT_IS = """Each file ran in a process of its own without PyTorch, with limits of time, memory and files, and only
arrays came back; another process judged them. That stops accidents and ordinary tricks. It is not a sandbox against a
determined attacker."""


def grades_page(grades: Grades) -> str:
    """Return the page: a table with a row for each file, then what each gradient got."""
    wanted = ", ".join(grades.wanted)
    right = sum(grade.ok for grade in grades.grades.values())
    rows = "\n".join(_row(grade) for grade in grades.grades.values())
    details = "\n".join(_details(grade.file, grade.report) for grade in grades.grades.values() if grade.report)
    body = f"""<div class="crosscheck">
<p>Reference: <code>{escape(grades.reference)}</code>, seed {grades.seed}; wanted: {escape(wanted)}.</p>
<div class="scroll" role="region" aria-label="grades" tabindex="0">
<table>
<caption>{right} of {len(grades.grades)} files are right</caption>
<thead><tr><th scope="col">file</th><th scope="col">result</th><th scope="col">cause</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>
</div>
{details}
<p><small>{WHAT_IT_IS}</small></p>
</div>"""
    return page("Files checked against autograd", body)


def _row(grade: Grade) -> str:
    level = LEVELS[grade.result]
    return (
        f'<tr class="{level}"><th scope="row">{escape(grade.file)}</th><td>{mark(level, grade.result)}</td>'
        f"<td>{escape(grade.message)}</td></tr>"
    )


def _details(file: str, report: Report) -> str:
    return f"<details><summary>{escape(file)}</summary>{fragment(report, pictures=False)}</details>"
