"""The notebook of docs/ runs, and shows what stands in it."""

import ast
import json
import re
from pathlib import Path

import pytest

pytest.importorskip("torch")

NOTEBOOK = Path(__file__).parents[2] / "docs" / "one_layer.ipynb"


def run(source, names):
    """Run a cell and return the value of its last line, if that is an expression."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, str(NOTEBOOK), "exec"), names)
    return eval(compile(ast.Expression(last.value), str(NOTEBOOK), "eval"), names) if last else None


def without_numbers(text):
    """Return the words: how far rounding went depends on the machine, and with it the width of the columns."""
    return re.sub(r"-{3,}|[-+]?\d[\d.,]*(e[-+]?\d+)?", "#", text).split()


def test_every_cell_runs_and_shows_what_stands_there():
    cells = [cell for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"] if cell["cell_type"] == "code"]
    names, codes = {"__name__": "notebook"}, []
    for cell in cells:
        value = run("".join(cell["source"]), names)
        expected = ["".join(output["data"]["text/plain"]) for output in cell["outputs"]]
        assert ([] if value is None else [without_numbers(str(value))]) == [without_numbers(text) for text in expected]
        if hasattr(value, "gradients"):
            codes.append([gradient.code for gradient in value.gradients.values()])
            assert value._repr_html_().count("<img") in {0, 2, 3}
    assert codes == [
        ["match"],
        ["unreduced"],
        ["match"],
        ["scale", "match"],
        ["match", "match"],
        ["match", "match", "match"],
    ]
