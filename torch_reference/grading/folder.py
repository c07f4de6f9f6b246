"""Grade every file of a folder: each in a process of its own, several at a time; one judge decides on the arrays."""

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torch_reference.checker import crosscheck
from torch_reference.grading.grades import Grade
from torch_reference.grading.problem import Problem
from torch_reference.grading.remote import Remote, SubmissionError, one_line, replayed, started

LARGEST_SOURCE = 1 << 20
"""Bytes: more than anyone writes."""

DIMENSIONS = 8
"""More than any gradient has."""

CALLS = 2
"""As often as `crosscheck` calls `manual` to see that it answers alike."""


def grade_folder(
    folder: Path, reference: Path, problem: Problem, seconds: float, seed: int, done: Callable[[], object]
) -> dict[str, Grade]:
    """Check each `.py` file of a folder, except the reference itself.

    Parameters
    ----------
    folder, reference : path
        The files, and the one that defines the problem.
    problem : Problem
        What they have to solve.
    seconds : float
        Time for each of them.
    seed : int
        As `crosscheck` takes it.
    done : callable
        Called after each file.

    Returns
    -------
    dict of str to Grade
        By name, in the order of the names.
    """
    paths = [path for path in sorted(folder.glob("*.py")) if path.resolve() != reference.resolve()]
    sources = {path.name: _source(path) for path in paths}  # all read before the first file can change another
    judge, running = threading.Lock(), set[Remote]()

    def grade(name: str) -> Grade:
        source, start = sources[name], time.monotonic()
        name = repr(name)[1:-1]  # line breaks in a name are shown, not printed
        if isinstance(source, str):
            result = Grade(name, source)
        else:
            result = _grade(name, source, problem, seconds, seed, judge, running)
        result = Grade(result.file, result.failure, result.report, result.missing, time.monotonic() - start)
        done()
        return result

    pool = ThreadPoolExecutor(2 * (os.cpu_count() or 1))  # most of the time goes by in waiting for those that hang
    try:
        return {result.file: result for result in pool.map(grade, sources)}
    finally:  # where Ctrl-C came: not one more, and no waiting for those that run
        pool.shutdown(wait=False, cancel_futures=True)
        for remote in list(running):
            remote.kill()
        pool.shutdown()


def _grade(
    name: str, source: bytes, problem: Problem, seconds: float, seed: int, judge: threading.Lock, running: set[Remote]
) -> Grade:
    try:
        with started(name, source, seconds) as remote:
            running.add(remote)
            try:
                answers = [remote(problem.inputs) for _ in range(CALLS)]
                wanted = [key for key in problem.wanted if key in answers[0].gradients]
                missing = [key for key in problem.wanted if key not in wanted]
                if not wanted:
                    given = ", ".join(map(one_line, answers[0].gradients)) or "nothing"
                    return Grade(name, one_line(f"no gradient that is wanted: it returns {given}"), None, missing)
                for key in wanted:
                    _check_size(key, answers[0].gradients[key], problem)
                with judge, np.errstate(all="ignore"):
                    report = crosscheck(replayed(remote, answers, wanted), problem.reference, problem.inputs, seed)
                return Grade(name, "", report, missing)
            finally:
                running.discard(remote)
    except SubmissionError as error:
        return Grade(name, str(error))
    except Exception as error:  # arrays that the judge cannot read, whatever they are, are not right
        return Grade(name, one_line(f"its answer cannot be judged: {type(error).__name__}: {error}"))


def _check_size(name: str, gradient: NDArray[Any], problem: Problem) -> None:
    """Refuse a gradient that is larger than one whose sum over any axis was forgotten: judging it would take long."""
    arrays = {key: np.asarray(value) for key, value in problem.inputs.items()}
    longest = max(max(array.shape, default=1) for array in arrays.values())
    if gradient.ndim > DIMENSIONS or gradient.size > arrays[name].size * longest:
        shape = one_line(str(gradient.shape))
        raise SubmissionError(f"the gradient for {name} has shape {shape}, the input {arrays[name].shape}")


def _source(path: Path) -> bytes | str:
    """Return the text of a file, or why it cannot be had."""
    try:
        if not path.is_file():
            return "not a file"
        if path.stat().st_size > LARGEST_SOURCE:
            return f"larger than {LARGEST_SOURCE:,} bytes"
        return path.read_bytes()
    except OSError as error:
        return one_line(error.strerror or str(error))
