"""A report as HTML that needs nothing but itself: a fragment for notebooks, a page for everything else."""

from base64 import b64encode
from html import escape

from torch_reference.checker.report.drawing import png
from torch_reference.checker.report.gradient import GradientReport
from torch_reference.checker.report.panels import panels
from torch_reference.checker.report.results import Report, row

STYLE = """
.crosscheck { line-height: 1.5; max-width: 60rem; overflow-wrap: anywhere }
.crosscheck .scroll { overflow-x: auto }
.crosscheck table { border-collapse: collapse; margin: 1rem 0; width: 100% }
.crosscheck caption { font-weight: bold; text-align: left }
.crosscheck th, .crosscheck td { border-bottom: 1px solid #8888; padding: .4rem .5rem; text-align: left; \
vertical-align: top }
.crosscheck .number { font-variant-numeric: tabular-nums; text-align: right }
.crosscheck tbody th { min-width: 6.5rem; width: 25% }
.crosscheck thead { overflow-wrap: normal }
.crosscheck th small { font-weight: normal; white-space: nowrap }
.crosscheck .mark { border-radius: .3rem; padding: .1rem .4rem; white-space: nowrap }
.crosscheck .right .mark { background: #0a03 }
.crosscheck .warned .mark { background: #e905 }
.crosscheck .wrong .mark { background: #e004 }
.crosscheck .panels { display: flex; flex-wrap: wrap; gap: 1rem }
.crosscheck figure { flex: 1 1 16rem; margin: 0; max-width: 24rem }
.crosscheck img { background: white; border-radius: .3rem; display: block; height: auto; max-width: 100% }
.crosscheck summary { cursor: pointer; padding: .3rem 0 }
@media (max-width: 30rem) { .crosscheck table { font-size: .85rem } \
.crosscheck th, .crosscheck td { padding: .4rem .2rem } }
"""

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="data:,">
<style>
:root {{ color-scheme: light dark; font-family: system-ui, sans-serif }}
body {{ margin: 0 auto; max-width: 60rem; padding: 1rem }}
:focus-visible {{ outline: 3px solid #48f; outline-offset: 2px }}
@media (prefers-color-scheme: dark) {{ .crosscheck img {{ filter: invert(.9) hue-rotate(180deg) }} }}
{style}</style>
</head>
<body>
<main>
<h1>{title}</h1>
{body}
</main>
</body>
</html>
"""

MARKS = {"right": "✓", "warned": "!", "wrong": "✗"}


def page(title: str, body: str) -> str:
    """Return a whole page around a fragment; light or dark as the reader has it."""
    return PAGE.format(title=escape(title), style=STYLE, body=body)


def fragment(report: Report, pictures: bool = True) -> str:
    """Return the table of a report and, below it, each gradient that is not plainly right, with a picture if wanted."""
    rows = "\n".join(_row(gradient) for gradient in report.gradients.values())
    right = sum(gradient.ok for gradient in report.gradients.values())
    total = len(report.gradients)
    noted = [gradient for gradient in report.gradients.values() if level(gradient) != "right"]
    note = f"<p>{escape(report.note)}</p>" if report.note else ""
    return f"""<div class="crosscheck">
<div class="scroll" role="region" aria-label="verdicts" tabindex="0">
<table>
<caption>{right} of {total} gradients agree with autograd</caption>
<thead><tr><th scope="col">gradient</th><th scope="col">verdict</th><th scope="col" class="number">error / allowed</th>
<th scope="col" class="number">wrong entries</th></tr></thead>
<tbody>
{rows}
</tbody>
</table>
</div>
{note}
{"".join(_section(gradient, pictures and not gradient.ok) for gradient in noted)}
</div>"""


def notebook(report: Report) -> str:
    """Return the fragment with its style."""
    return f"<style>{STYLE}</style>\n{fragment(report)}"


def level(gradient: GradientReport) -> str:
    """Return `right`, `wrong`, or `warned` for what is right with a remark."""
    return "wrong" if not gradient.ok else "right" if gradient.code == "match" else "warned"


def mark(level: str, words: str) -> str:
    """Return a verdict as a sign and words on a colour, so that none of them carries it alone."""
    return f'<span class="mark"><span aria-hidden="true">{MARKS[level]}</span> {escape(words)}</span>'


def _row(gradient: GradientReport) -> str:
    name, shape, code, error, wrong = row(gradient)
    return (
        f'<tr class="{level(gradient)}"><th scope="row">{escape(name)} <small>{shape}</small></th>'
        f"<td>{mark(level(gradient), code)}</td>"
        f'<td class="number">{error}</td><td class="number">{wrong}</td></tr>'
    )


def _section(gradient: GradientReport, pictures: bool) -> str:
    worst = ""
    if gradient.worst:
        place = ", ".join(map(str, gradient.worst.index))
        worst = (
            f"<p>Worst entry <code>[{place}]</code>: manual {gradient.worst.manual:.10g}, "
            f"autograd {gradient.worst.reference:.10g}, allowed difference {gradient.worst.allowed:.2e}.</p>"
        )
    figures = "".join(
        f'<figure><img alt="{escape(gradient.name)}: image of {escape(panel.title)}, one cell for each entry" '
        f'src="data:image/png;base64,{b64encode(png(panel)).decode()}">'
        f"<figcaption>{escape(panel.title)}</figcaption></figure>"
        for panel in (panels(gradient) if pictures else [])
    )
    return (
        f'<section class="{level(gradient)}"><h2>{escape(gradient.name)}: {mark(level(gradient), gradient.code)}</h2>'
        f'<p>{escape(gradient.message)}</p>{worst}<div class="panels">{figures}</div></section>\n'
    )
