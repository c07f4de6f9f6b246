"""Copies of the project with one mistake in one source file, and whether its tests notice."""

import ast
import copy
import math
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NEEDED = ("manual_backprop", "torch_reference", "scripts", "tests", "docs", "README.md", "pyproject.toml")
PATIENCE = 4
"""Tests count as failed if they take so many times as long as on the right code, and half a minute more."""
OUTPUT = "output.txt"
"""What a run of tests prints, in its copy of the project."""
# A process that has loaded what all tests need, and becomes a new one for each run: loading takes longer than most.
PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["pytest", "numpy", "hypothesis.extra.numpy", "torch"])


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


def survives(mutant: Mutant, tests: Sequence[str], limits: Mapping[str, int]) -> bool:
    """Tell whether tests pass on a copy of the project that holds the mutant; they run in the order given."""
    with copied() as folder:
        Path(folder, mutant.file).write_text(mutant.source, encoding="utf-8")
        return all(passes(folder, test, limits[test]) for test in tests)


@contextmanager
def copied() -> Iterator[str]:
    """Make a copy of the project, for a while."""
    with tempfile.TemporaryDirectory() as folder:
        for name in NEEDED:
            source, target = ROOT / name, Path(folder, name)
            shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
        yield folder


def passes(folder: str, tests: str, limit: int) -> bool:
    """Tell whether tests pass in a copy of the project, in a process of its own and so many seconds of its time."""
    process = PROCESSES.Process(target=_run, args=(folder, tests, limit))
    process.start()
    process.join()
    # 2: the mistake keeps a test file from being imported; 5: what the tests need is not installed
    if process.exitcode not in (0, 1, 2, 5, -signal.SIGXCPU):
        raise RuntimeError(f"{tests}: status {process.exitcode}\n{Path(folder, OUTPUT).read_text(encoding='utf-8')}")
    return process.exitcode in (0, 5)


def _run(folder: str, tests: str, limit: int) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))
    os.chdir(folder)
    os.environ["PYTHONPATH"] = folder
    sys.path.insert(0, folder)
    output = os.open(OUTPUT, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(output, 1)
    os.dup2(output, 2)
    preloaded = "ignore::pytest.PytestAssertRewriteWarning"
    sys.exit(pytest.main(["-qx", "-W", preloaded, "-p", "no:cacheprovider", "--hypothesis-profile=drill", tests]))


def report(mutants: Sequence[Mutant], tests: Callable[[Mutant], Sequence[str]], workers: int) -> int:
    """Try every mutant, print each verdict, then how many of each file a test notices; return how many none does.

    Parameters
    ----------
    mutants : sequence of Mutant
        What to try.
    tests : callable
        Returns the tests for a mutant: files and folders, the likeliest to notice it first.
    workers : int
        How many runs of tests at a time.

    Raises
    ------
    RuntimeError
        If tests fail on the right code.
    """
    os.environ["OMP_NUM_THREADS"] = "1"  # read by what the processes are made of
    limits = {}
    with copied() as folder:
        for name in dict.fromkeys(name for mutant in mutants for name in tests(mutant)):
            start = time.monotonic()
            if not passes(folder, name, resource.RLIM_INFINITY):
                output = Path(folder, OUTPUT).read_text(encoding="utf-8")
                raise RuntimeError(f"{name} does not pass on the right code\n{output}")
            limits[name] = 30 + PATIENCE * math.ceil(time.monotonic() - start)

    with ThreadPoolExecutor(workers) as pool:
        return print_verdicts(mutants, pool.map(lambda mutant: not survives(mutant, tests(mutant), limits), mutants))


def print_verdicts(mutants: Sequence[Mutant], verdicts: Iterable[bool]) -> int:
    """Print whether each mutant was noticed once it is known, then how many of each file; return how many were not."""
    tried: Counter[str] = Counter()
    killed: Counter[str] = Counter()
    for mutant, noticed in zip(mutants, verdicts, strict=True):
        print(f"{'noticed' if noticed else 'NOT NOTICED'}: {mutant}", flush=True)
        tried[mutant.file] += 1
        killed[mutant.file] += noticed
    for file, count in tried.items():
        print(f"{killed[file]:4} of {count:4} noticed in {file}")
    print(f"{killed.total():4} of {len(mutants):4} noticed")
    return len(mutants) - killed.total()
