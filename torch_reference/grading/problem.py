"""What a file defines: the inputs, the reference, the gradients that are wanted, and perhaps the gradient itself."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

import numpy as np

from torch_reference.checker import crosscheck
from torch_reference.grading.worker import explain


class UnusableError(Exception):
    """The check cannot run; the text is for the user."""


@dataclass(frozen=True)
class Problem:
    """A gradient to derive.

    Attributes
    ----------
    inputs : mapping of str to array
        As `crosscheck` takes them.
    reference : callable
        The loss.
    wanted : sequence of str
        The floating inputs whose gradients must be answered.
    """

    inputs: Mapping[str, Any]
    reference: Callable[..., Any]
    wanted: Sequence[str]


def load(path: Path, needed: Sequence[str]) -> dict[str, Any]:
    """Run a file that is trusted and return what it defines.

    Raises
    ------
    UnusableError
        If it cannot be read or run, or lacks one of the functions that are needed.
    """
    defined: dict[str, Any] = {"__name__": path.stem, "__file__": str(path)}
    sys.path.insert(0, str(path.resolve().parent))
    try:
        with _not_leaving():
            exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), defined)  # noqa: S102 (the user's own code)
    except (OSError, UnicodeDecodeError) as error:
        raise UnusableError(f"{path}: {getattr(error, 'strerror', None) or 'no UTF-8 text'}") from error
    except SyntaxError as error:
        raise UnusableError(f"{path}, line {error.lineno}: {error.msg}") from error
    except (Exception, SystemExit) as error:
        raise UnusableError(blamed(error, path)) from error
    missing = [name for name in needed if not callable(defined.get(name))]
    if missing:
        raise UnusableError(f"{path}: no function {' and no function '.join(missing)}")
    return defined


def posed(path: Path, defined: Mapping[str, Any], rng: np.random.Generator) -> Problem:
    """Draw the inputs that a file defines.

    Raises
    ------
    UnusableError
        If `inputs` fails or does not return a dict, or `WANTED` names something else than its floating arrays.
    """
    try:
        with _not_leaving():
            inputs = defined["inputs"](rng)
    except (Exception, SystemExit) as error:
        raise UnusableError(blamed(error, path)) from error
    if not isinstance(inputs, Mapping):
        raise UnusableError(f"{path}: inputs must return a dict of arrays, but it returned {type(inputs).__name__}")
    floating = [name for name, value in inputs.items() if np.asarray(value).dtype.kind == "f"]
    wanted = defined.get("WANTED", floating)
    unknown = sorted(set(map(str, wanted)) - set(floating))
    if unknown or not wanted:
        raise UnusableError(
            f"{path}: WANTED has {', '.join(unknown) or 'no name'}; the floating inputs are {', '.join(floating)}"
        )

    @wraps(defined["reference"])  # the check names lines of the function itself
    def reference(**tensors: Any) -> Any:
        with _not_leaving():
            return defined["reference"](**tensors)

    return Problem(inputs, reference, tuple(wanted))


def probe(path: Path, problem: Problem, seed: int) -> None:
    """See that the reference can judge, with gradients that are zero.

    Raises
    ------
    UnusableError
        If it fails, or has no gradient for one of the inputs that are wanted.
    """
    zeros = {name: np.zeros(np.shape(problem.inputs[name])) for name in problem.wanted}
    try:
        report = crosscheck(lambda **_: zeros, problem.reference, problem.inputs, seed)
    except (Exception, SystemExit) as error:
        raise UnusableError(blamed(error, path)) from error
    for name, gradient in report.gradients.items():
        if gradient.code == "reference" or not np.isfinite(gradient.reference).all():
            raise UnusableError(f"{path}: the reference has no finite gradient for {name}")


def blamed(error: BaseException, path: Path) -> str:
    """Say in one line what went wrong in a file, and where."""
    text = explain(error, str(path))
    if text.startswith("line "):
        return f"{path}, {text}"
    if not isinstance(error, TypeError | ValueError | SystemExit):
        return f"{type(error).__name__}: {text}"
    return f"{path}: {text}"


@contextmanager
def _not_leaving() -> Iterator[None]:
    """Let `os._exit` raise meanwhile: a check that was left in its midst must not look as if everything matched."""

    def refuse(status: int) -> None:
        raise SystemExit(status)

    leave = os._exit
    os._exit = refuse  # type: ignore[assignment]
    try:
        yield
    finally:
        os._exit = leave
