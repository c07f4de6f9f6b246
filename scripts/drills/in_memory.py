"""Mistakes in functions, tried without new imports: a fork of this process gets the wrong code and runs the tests.

All that the tests need is loaded once. What loads the code anew, as a command in a process of its own does, sees the
right code, so a mistake that only such a test would notice counts as not noticed.
"""

import gc
import importlib
import inspect
import os
import resource
import signal
import types
from collections.abc import Iterator, Sequence

import pytest
from mutants import Mutant

LIMIT = 600
"""Seconds of processor time after which tests count as failed. On the right code they must end in a quarter of it."""
OPTIONS = (
    "-qx",
    "-W",
    "ignore::pytest.PytestAssertRewriteWarning",
    "-p",
    "no:cacheprovider",
    "--hypothesis-profile=drill",
)


def verdicts(mutants: Sequence[Mutant], tests: Sequence[Sequence[str]]) -> Iterator[bool]:
    """Yield for each mutant whether one of its tests fails: the likeliest to fail first.

    Raises
    ------
    RuntimeError
        If tests fail on the right code, or take too long.
    """
    os.environ["OMP_NUM_THREADS"] = "1"
    files = dict.fromkeys(name.partition("::")[0] for names in tests for name in names)
    pytest.main([*OPTIONS, "--collect-only", "--quiet", *files])  # imports them, and all that they import
    gc.freeze()  # what is loaded stays; pytest looks for garbage twice a run
    sound = set()

    def fails(name: str, mutant: Mutant) -> bool:
        if name not in sound and not _passes(name, None, LIMIT // 4):
            raise RuntimeError(f"{name} does not pass on the right code, or not in {LIMIT // 4} s")
        sound.add(name)
        return not _passes(name, mutant, LIMIT)

    for mutant, names in zip(mutants, tests, strict=True):
        yield any(fails(name, mutant) for name in names)


def _passes(tests: str, mutant: Mutant | None, limit: int) -> bool:
    process = os.fork()
    if process == 0:
        status = 3
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))
            if mutant is not None:
                _replace_code(mutant)
            silence = os.open(os.devnull, os.O_WRONLY)
            os.dup2(silence, 1)
            status = int(pytest.main([*OPTIONS, tests]))
        finally:
            os._exit(status)
    _, ending = os.waitpid(process, 0)
    if ending == signal.SIGXCPU:
        return False
    if os.waitstatus_to_exitcode(ending) not in (0, 1):
        raise RuntimeError(f"{tests}: status {ending} on {mutant}")
    return ending == 0


def _replace_code(mutant: Mutant) -> None:
    """Give every function of a module the code that it has in the mutant, wherever it was imported to."""
    module = importlib.import_module(mutant.file.removesuffix(".py").replace("/", "."))
    codes = {code.co_qualname: code for code in _nested(compile(mutant.source, str(module.__file__), "exec"))}
    for owner in (module, *(value for _, value in inspect.getmembers(module, inspect.isclass))):
        for value in vars(owner).values():
            function = getattr(value, "__func__", value)  # of a class method or static method
            if isinstance(function, types.FunctionType) and function.__module__ == module.__name__:
                function.__code__ = codes.get(function.__code__.co_qualname, function.__code__)


def _nested(code: types.CodeType) -> Iterator[types.CodeType]:
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield constant
            yield from _nested(constant)
