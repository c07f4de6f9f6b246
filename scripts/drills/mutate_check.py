"""Break the check's own code at random places, one change at a time, and see whether its tests notice.

Each mutant is a copy of the project with one comparison, operator or constant changed; all such changes are as likely.
Exit status 0: at most one in ten passes the tests. Some change nothing that can be seen, such as one more draw.
"""

import argparse
import ast
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from mutants import ROOT, Mutant, Slot, mutate, replaced, report

CHECKER = "torch_reference/checker"
TESTS = "tests/" + CHECKER
COMPARISONS = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
OPERATORS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.BitOr: ast.BitAnd,
    ast.BitAnd: ast.BitOr, ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult, ast.And: ast.Or,
    ast.Or: ast.And,
}  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Try some mutants and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--number", type=int, default=40, help="how many changes to try (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the choice among all changes (default: %(default)s)")
    parser.add_argument(
        "--workers", type=int, default=os.cpu_count(), help="test runs at a time (default: %(default)s)"
    )
    options = parser.parse_args(arguments)
    files = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / CHECKER).rglob("*.py"))
    mutants = [mutant for file in files for mutant in wrong(file)]
    rng = np.random.default_rng(options.seed)
    chosen = [mutants[place] for place in rng.choice(len(mutants), options.number, replace=False)]
    return 1 if report(chosen, tests, options.workers) > options.number // 10 else 0


def wrong(file: str) -> Iterator[Mutant]:
    """Yield every mutant of a file."""
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    return mutate(file, tree, points(tree), changes)


def points(parent: ast.AST) -> Iterator[Slot]:
    """Yield every expression of a file that is computed; types, names and texts are not."""
    for field, value in ast.iter_fields(parent):
        for index, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
            if isinstance(child, ast.AST) and field not in {"annotation", "returns"}:
                if isinstance(child, ast.expr):
                    yield parent, field, index, child
                yield from points(child)


def changes(node: ast.AST) -> Iterator[tuple[str, ast.AST]]:
    """Yield the changes that can be made at one node, each with its kind."""
    match node:
        case ast.Compare(ops=[operator]):
            yield "comparison", replaced(node, ops=[COMPARISONS[type(operator)]()])
        case ast.BinOp(op=operator) if type(operator) in OPERATORS and not is_type(node):
            yield "operator", replaced(node, op=OPERATORS[type(operator)]())
        case ast.BoolOp(op=operator):
            yield "operator", replaced(node, op=OPERATORS[type(operator)]())
        case ast.UnaryOp(op=ast.Not() | ast.Invert() | ast.USub(), operand=operand):
            yield "operator", operand
        case ast.Constant(value=bool(value)):
            yield "constant", ast.Constant(not value)
        case ast.Constant(value=int(value)):
            yield "constant", ast.Constant(value + 1)
        case ast.Constant(value=float(value)):
            yield "constant", ast.Constant(value * 2 if value else 1.0)


def is_type(node: ast.BinOp) -> bool:
    """Tell whether `a | b` joins two types."""
    names = [part for part in ast.walk(node) if isinstance(part, ast.Name | ast.Attribute | ast.Constant)]
    return all(isinstance(part, ast.Constant) or ast.unparse(part)[-1:].isalpha() for part in names) and any(
        ast.unparse(part) in {"int", "float", "str", "None", "Any"} or "np." in ast.unparse(part) for part in names
    )


def tests(mutant: Mutant) -> list[str]:
    """Return the files of the check's tests, the nearest to the mutant's own file first."""
    mirror = Path(TESTS, *Path(mutant.file).relative_to(CHECKER).parent.parts, f"test_{Path(mutant.file).name}")

    def distance(test: Path) -> tuple[bool, int]:
        return test != mirror, -len(os.path.commonpath([test, mirror]))

    files = sorted(path.relative_to(ROOT) for path in (ROOT / TESTS).rglob("test_*.py"))
    return [file.as_posix() for file in sorted(files, key=distance)]


if __name__ == "__main__":
    sys.exit(main())
