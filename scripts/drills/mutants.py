"""Copies of the project with one mistake in one source file, and whether its tests notice."""

import ast
import copy
import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

ROOT = Path(__file__).parents[2]
NEEDED = ("manual_backprop", "torch_reference", "scripts", "tests", "docs", "README.md", "pyproject.toml")


@dataclass(frozen=True)
class Mutant:
    """A source file with one mistake in it."""

    file: str
    line: int
    kind: str
    before: str
    after: str
    source: str

    def __str__(self) -> str:
        """Return where the mistake is and what it does."""
        return f"{self.file}:{self.line} {self.kind}: {self.before}  ->  {self.after}"


Changes = Callable[[ast.AST], Iterator[tuple[str, ast.AST]]]
Slot = tuple[ast.AST, str, int | None, ast.AST]


def mutate(file: str, tree: ast.Module, points: Iterator[Slot], changes: Changes) -> Iterator[Mutant]:
    """Yield a mutant for every change at every point of a file's syntax tree.

    Parameters
    ----------
    file : str
        Path from the root of the project.
    tree : Module
        What it holds; it is changed and put back.
    points : iterator of slots
        Where to change it.
    changes : callable
        Yields the kind of each mistake that can be made at a node, and what stands there then.
    """
    for parent, field, index, node in points:
        for kind, changed in changes(node):
            put(parent, field, index, ast.fix_missing_locations(ast.copy_location(changed, node)))
            line = getattr(node, "lineno", 0)
            yield Mutant(file, line, kind, ast.unparse(node), ast.unparse(changed), ast.unparse(tree))
        put(parent, field, index, node)


def put(parent: ast.AST, field: str, index: int | None, node: ast.AST) -> None:
    """Let a node stand in a place."""
    if index is None:
        setattr(parent, field, node)
    else:
        getattr(parent, field)[index] = node


def replaced(node: ast.AST, **fields: object) -> ast.AST:
    """Return a copy of a node with some fields changed."""
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return changed


def survives(mutant: Mutant, tests: Sequence[str]) -> bool:
    """Tell whether tests pass on a copy of the project that holds the mutant; they run in the order given."""
    with tempfile.TemporaryDirectory() as folder:
        for name in NEEDED:
            source, target = ROOT / name, Path(folder, name)
            shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
        Path(folder, mutant.file).write_text(mutant.source, encoding="utf-8")
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-x",
            "-p",
            "no:cacheprovider",
            "--hypothesis-profile=drill",
            *tests,
        ]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": folder}
        run = subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False)
        if run.returncode not in (0, 1, 2):  # 2: the mistake keeps a test file from being imported
            raise RuntimeError(f"pytest ended with status {run.returncode} on {mutant}:\n{run.stdout.decode()}")
        return run.returncode == 0


def report(mutants: Sequence[Mutant], tests: Callable[[Mutant], Sequence[str]], workers: int) -> int:
    """Try every mutant, print how many of each kind a test notices and which none does, and return how many those are.

    Parameters
    ----------
    mutants : sequence of Mutant
        What to try.
    tests : callable
        Returns the tests for a mutant.
    workers : int
        How many runs of tests at a time.
    """
    with ThreadPoolExecutor(workers) as pool:
        tried = pool.map(lambda mutant: survives(mutant, tests(mutant)), mutants)
        alive = list(tqdm(tried, total=len(mutants), unit="mutant", disable=None))
    for kind, count in sorted(Counter(mutant.kind for mutant in mutants).items()):
        killed = sum(not lives for mutant, lives in zip(mutants, alive, strict=True) if mutant.kind == kind)
        print(f"{kind:10} {killed:3} of {count:3} noticed by a test")
    survivors = [mutant for mutant, lives in zip(mutants, alive, strict=True) if lives]
    print(f"{'all':10} {len(mutants) - len(survivors):3} of {len(mutants):3}")
    for mutant in survivors:
        print(f"not noticed: {mutant}")
    return len(survivors)
