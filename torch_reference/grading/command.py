"""The command that checks gradients: of a user's file, of a folder of files, or of checks that a project brings."""

import argparse
import contextlib
import json
import math
import os
import secrets
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from torch_reference.checker import Report, crosscheck
from torch_reference.grading.folder import grade_folder
from torch_reference.grading.grades import Grades
from torch_reference.grading.own_file import check_file
from torch_reference.grading.problem import UnusableError, load, posed, probe


@dataclass(frozen=True)
class Check:
    """One crosscheck to run.

    Attributes
    ----------
    title : str
        Stands before the names of the gradients; may be empty.
    manual, reference : callable
        As `crosscheck` takes them.
    inputs : mapping
        The arrays.
    """

    title: str
    manual: Callable[..., Any]
    reference: Callable[..., Any]
    inputs: Mapping[str, Any]


OwnChecks = Callable[[int], Sequence[Check]]
"""Returns what to check where no file is named, drawn with a seed."""


def main(arguments: Sequence[str] | None = None, own: OwnChecks | None = None) -> int:
    """Run the checks that the command line asks for and return the exit status.

    0: everything matches; 1: something does not; 2: it could not run; 130: interrupted.
    """
    options = make_parser(own is not None).parse_args(arguments)
    try:
        return _run(options, own)
    except UnusableError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def make_parser(own: bool) -> argparse.ArgumentParser:
    """Return the parser of the command line; with `own`, the file may be left out."""
    parser = argparse.ArgumentParser(description="Check hand-derived gradients against PyTorch's autograd.")
    parser.add_argument(
        "path",
        nargs="?" if own else None,
        type=Path,
        metavar="FILE|FOLDER",
        help="a file that defines inputs(rng), manual(**inputs) and reference(**inputs), or a folder of files that "
        "define manual" + ("; without it this project is checked" if own else ""),
    )
    parser.add_argument(
        "--reference", type=Path, metavar="FILE", help="for a folder: defines inputs, reference and perhaps WANTED"
    )
    parser.add_argument(
        "--timeout", type=float, default=60.0, metavar="SECONDS", help="time for each file's manual (default: 60)"
    )
    parser.add_argument(
        "--seed",
        type=int,
        help="seed of the random inputs and of the check (default: 0; for a folder drawn anew and shown, so that no "
        "file can know its answers by heart)",
    )
    parser.add_argument(
        "--json",
        nargs="?",
        const="-",
        metavar="FILE",
        help="write the report as JSON; without FILE, in place of the table",
    )
    parser.add_argument(
        "--html", type=Path, metavar="FILE", help="write the report as a page, with pictures of wrong gradients"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw every wrong gradient beside the right one")
    return parser


def _run(options: argparse.Namespace, own: OwnChecks | None) -> int:
    """Check, print, and write."""
    if options.seed is not None and options.seed < 0:
        raise UnusableError(f"--seed: expected a number from 0, got {options.seed}")
    if not (options.timeout > 0 and math.isfinite(options.timeout)):
        raise UnusableError(f"--timeout: expected seconds above 0, got {options.timeout:g}")
    if options.json and options.json.endswith(".py"):
        raise UnusableError(f"--json {options.json}: that is a program; name the file to check first")
    in_folder = options.path is not None and options.path.is_dir()
    if in_folder != (options.reference is not None):
        raise UnusableError(
            f"{options.path}: a folder needs --reference FILE" if in_folder else "--reference: needs a folder to check"
        )
    if in_folder and options.plot:
        raise UnusableError("--plot: draws the gradients of one file, not of a folder")
    with contextlib.redirect_stdout(sys.stderr):  # what a user's functions print must not end up in the JSON
        result = _folder(options) if in_folder else _file(options) if options.path else _own(options, own)
    text = json.dumps(result.to_dict(), indent=2)
    if options.json and options.json != "-":
        _write("--json", Path(options.json), lambda part: part.write_text(text + "\n", encoding="utf-8"))
    print(text if options.json == "-" else result)
    if options.html:
        _write("--html", options.html, result.save)
    if options.plot and isinstance(result, Report):
        if result.ok:
            print(f"every gradient is right: {options.plot} is not drawn", file=sys.stderr)
        else:
            _write("--plot", options.plot, result.plot)
    return 0 if result.ok else 1


def _file(options: argparse.Namespace) -> Report:
    """Check one file of the user's."""
    seed = options.seed or 0
    defined = load(options.path, ("inputs", "manual", "reference"))
    problem = posed(options.path, defined, np.random.default_rng(seed))
    with _evaluations() as counted:
        problem = replace(problem, reference=counted(problem.reference))
        report = check_file(options.path, problem, defined["manual"], options.timeout, seed)
    missing = sorted(set(defined.get("WANTED", ())) - set(report.gradients))
    if missing:
        raise UnusableError(f"{options.path}: WANTED names {', '.join(missing)}, for which manual returns no gradient")
    return report


def _folder(options: argparse.Namespace) -> Grades:
    """Check every file of a folder."""
    seed = secrets.randbelow(2**32) if options.seed is None else options.seed
    defined = load(options.reference, ("inputs", "reference"))
    problem = posed(options.reference, defined, np.random.default_rng(seed))
    probe(options.reference, problem, seed)
    with tqdm(desc="checking", unit=" files", delay=1, disable=None, leave=False) as bar:
        grades = grade_folder(options.path, options.reference, problem, options.timeout, seed, bar.update)
    if not grades:
        raise UnusableError(f"{options.path}: no .py file to check")
    return Grades(str(options.reference), seed, problem.wanted, grades)


def _own(options: argparse.Namespace, own: OwnChecks | None) -> Report:
    """Check what the project brings."""
    gradients = {}
    with _evaluations() as counted:
        for check in own(options.seed or 0) if own else ():
            report = crosscheck(check.manual, counted(check.reference), check.inputs, seed=options.seed or 0)
            for name, gradient in report.gradients.items():
                title = f"{check.title} {name}" if check.title else name
                gradients[title] = replace(gradient, name=title)
    return Report(gradients)


@contextlib.contextmanager
def _evaluations() -> Any:
    """Yield a wrapper that counts evaluations of a reference, shown on a terminal after a second."""
    with tqdm(desc="checking", unit=" evaluations", delay=1, disable=None, leave=False) as bar:

        def counted(reference: Callable[..., Any]) -> Callable[..., Any]:
            @wraps(reference)  # the check names lines of the function itself
            def evaluate(**inputs: Any) -> Any:
                bar.update()
                return reference(**inputs)

            return evaluate

        yield counted


def _write(option: str, path: Path, write: Callable[[Path], object]) -> None:
    """Write a file whole or not at all."""
    part = path.with_name(f".part-{os.getpid()}-{path.name}")
    try:
        write(part)
        part.replace(path)
    except (OSError, ValueError) as error:
        part.unlink(missing_ok=True)
        raise UnusableError(f"{option} {path}: {getattr(error, 'strerror', None) or error}") from error
