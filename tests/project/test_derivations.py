"""The pages of derivations quote the source as it is, and what they say of wrong lines is what the check says."""

import ast

import pytest
from derivations import FAMILY, PAGES, ROOT, mistakes, quotes, source_lines, verdicts

pytest.importorskip("torch")


@pytest.mark.parametrize("page", [*PAGES, ROOT / "docs" / "gpt.md"], ids=lambda page: page.stem)
def test_quotes_the_source_as_it_is(page):
    for file, function, lines in quotes(page):
        source = iter(line.strip() for line in source_lines(file, function))
        for line in lines:
            assert line.strip() in source, f"{file}: {function} has no such line, or not in this order: {line}"


def case(number, mistake):
    """A mistake as a case; every other is slow, and those in recurrences: every turn of a loop may be to blame."""
    marks = [pytest.mark.slow] if number % 2 or mistake.page == "recurrent" else []
    return pytest.param(mistake, id=f"{mistake.page}-{mistake.function}-{mistake.wrong}", marks=marks)


@pytest.mark.parametrize("mistake", [case(*numbered) for numbered in enumerate(mistakes())])
def test_the_check_says_of_a_wrong_line_what_the_page_says(mistake):
    report = verdicts(mistake)
    found = {name: gradient.code for name, gradient in report.gradients.items() if not gradient.ok}
    assert found.keys() == mistake.verdicts.keys(), str(report)
    for name, code in mistake.verdicts.items():
        assert found[name] == code or {found[name], code} <= FAMILY, str(report)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_family_is_derived_whole(page):
    """The page of a file of layers has every backward of it; the first ones may be on the first page."""
    file = ROOT / "manual_backprop" / "layers" / f"{page.stem}.py"
    nodes = ast.parse(file.read_text(encoding="utf-8")).body if file.exists() else []
    wanted = {node.name for node in nodes if isinstance(node, ast.FunctionDef) and node.name.endswith("_backward")}
    assert wanted <= {function for other in PAGES for _, function, _ in quotes(other)}
