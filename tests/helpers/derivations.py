"""What the pages of derivations claim, read from them: lines of the source, and what the check says of wrong ones.

A block of Python that begins with `# FILE: FUNCTION` quotes lines of that function, in their order. A block of diff
that begins with `# FUNCTION` replaces the lines with - by those with +. The next line of the page tells the verdict on
each gradient that is wrong then: The check: `name` is `code`, ...
"""

import ast
import importlib
import inspect
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from layer_checks import as_tuple
from layer_table import CASES
from planted import planted

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "derivations").glob("*.md"))
QUOTE = re.compile(r"^```python\n# (\S+): (\S+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
MISTAKE = re.compile(r"^```diff\n# (\w+)\n(.*?)^```\n+The check: ([^\n]*)", re.MULTILINE | re.DOTALL)
VERDICT = re.compile(r"`(\w+)` is `([\w-]+)`")
FAMILY = {"mismatch", "partial", "derivative", "path", "upstream"}
"""Codes that say what is wrong with a formula, and differ in how much the check could find out."""


@dataclass(frozen=True)
class Mistake:
    """A wrong line of a layer, and the code for each gradient that is wrong with it."""

    page: str
    function: str
    right: tuple[str, ...]
    wrong: tuple[str, ...]
    verdicts: dict[str, str]


def quotes(page):
    """Return the file, function and lines of each quotation of a page."""
    found = QUOTE.findall(page.read_text(encoding="utf-8"))
    return [(file, function, [line for line in text.splitlines() if line.strip()]) for file, function, text in found]


def source_lines(file, function):
    """Return the lines of a function, or a method, without indentation common to all."""
    text = (ROOT / "manual_backprop" / file).read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and node.name == function:
            return textwrap.dedent("    " + " " * node.col_offset + ast.get_source_segment(text, node)).splitlines()
    raise AssertionError(f"{file} has no function {function}")


def mistakes():
    """Return every mistake of every page."""
    found = []
    for page in PAGES:
        for function, lines, verdict in MISTAKE.findall(page.read_text(encoding="utf-8")):
            sides = {sign: tuple(line[1:].strip() for line in lines.splitlines() if line[0] == sign) for sign in "-+"}
            found.append(Mistake(page.stem, function, sides["-"], sides["+"], dict(VERDICT.findall(verdict))))
    return found


def broken(mistake):
    """Return the backward function with the mistake in it."""
    wrong = (*mistake.wrong, *["pass"] * (len(mistake.right) - len(mistake.wrong)))
    changes = zip(mistake.right, wrong, strict=True)
    return planted(f"{layer_of(mistake)}_backward", *changes, within=mistake.function)


def layer_of(mistake):
    """Return the layer on whose case a mistake is tried; a shared function is tried on batch normalisation."""
    layer = mistake.function.removesuffix("_backward")
    return layer if layer in CASES else {"normalize": "batch_norm"}[layer]


def verdicts(mistake):
    """Return the report of the check on the mistake."""
    return examined(layer_of(mistake), broken(mistake))


def examined(layer, backward, seed=0, dtype=np.float64):
    """Return the report of the check on a backward function, on a draw of its layer's case."""
    from torch_reference import crosscheck

    case = CASES[layer]
    forward = getattr(importlib.import_module("manual_backprop.layers"), layer)
    rng = np.random.default_rng(seed)
    inputs = case.inputs(rng, dtype)
    taken = [name for name in inputs if name in inspect.signature(backward).parameters]
    wanted = [name for name, value in inputs.items() if value.dtype.kind == "f" and name not in case.constants]
    fixed = {name: inputs.pop(name) for name in case.constants}
    outputs = () if case.is_loss else as_tuple(forward(**inputs, **fixed, **case.options))
    upstream = {f"grad_output_{i}": rng.normal(size=output.shape).astype(dtype) for i, output in enumerate(outputs)}

    def manual(**given):
        gradients = backward(
            *(given[name] for name in upstream), **{name: (given | fixed)[name] for name in taken}, **case.options
        )
        return dict(zip(wanted, as_tuple(gradients), strict=True))

    def reference(**given):
        import torch

        grad_outputs = [given.pop(name) for name in upstream]
        constants = {name: torch.from_numpy(value) for name, value in fixed.items()}
        outputs = as_tuple(case.reference(**given, **constants))
        return outputs[0] if case.is_loss else sum((a * b).sum() for a, b in zip(outputs, grad_outputs, strict=True))

    return crosscheck(manual, reference, inputs | upstream)
