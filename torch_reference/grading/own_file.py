"""Check a user's own file: `manual` runs in a fork of this process, where PyTorch refuses to compute."""

import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch.utils._python_dispatch import TorchDispatchMode

from torch_reference.checker import Report, crosscheck
from torch_reference.grading import worker
from torch_reference.grading.problem import Problem, UnusableError, blamed
from torch_reference.grading.remote import Remote, SubmissionError, pipes, replayed


def check_file(path: Path, problem: Problem, manual: Any, seconds: float, seed: int) -> Report:
    """Check `manual` of a file that defines the problem too.

    It may print, which goes to standard error, and it may use whatever the file has made; but what it does to this
    process (ending it, changing its modules) it does to a copy, and its gradients have to be its own work.

    Raises
    ------
    UnusableError
        If a function of the file fails, `manual` ends its process, or does not answer in time.
    """
    try:
        with forked(manual, str(path), seconds) as remote:
            return crosscheck(replayed(remote), problem.reference, problem.inputs, seed)
    except SubmissionError as error:
        text = str(error)
        raise UnusableError(f"{path}, {text}" if text.startswith("line ") else f"{path}: {text}") from error
    except (Exception, SystemExit) as error:
        raise UnusableError(blamed(error, path)) from error


REFUSAL = "manual uses PyTorch: its gradients must be derived by hand"


class NoTorch(TorchDispatchMode):
    """Refuses every operation of PyTorch, and as a finder of modules its import."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Refuse."""
        raise RuntimeError(REFUSAL)

    def find_spec(self, name: str, *_: Any) -> None:
        """Refuse, too."""
        if name.partition(".")[0] == "torch":
            raise ImportError(REFUSAL)


@contextmanager
def forked(manual: Any, name: str, seconds: float) -> Iterator[Remote]:
    """Answer calls of `manual` in a fork of this process; it is ended at the end.

    Parameters
    ----------
    manual : callable
        The function.
    name : str
        The file in which it stands.
    seconds : float
        As for `Remote`.
    """
    sys.stdout.flush()
    with pipes() as (requests, answers):
        with warnings.catch_warnings():  # the child computes with NumPy only, whose threads survive a fork
            warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 and later warn of any thread
            process = os.fork()
        if not process:
            _serve(manual, requests[0], answers[1], name)
        os.close(requests.pop(0))
        os.close(answers.pop(1))
        remote = Remote(process, requests[0], answers[0], seconds)
        try:
            yield remote
        finally:
            remote.kill()
            os.waitpid(process, 0)


def _serve(manual: Any, requests: int, answers: int, name: str) -> None:
    """Answer in the child, and never return."""
    try:
        os.setsid()
        os.dup2(2, 1)
        sys.stdout = sys.stderr = os.fdopen(2, "w", buffering=1, closefd=False)
        with NoTorch() as refusal:
            sys.meta_path.insert(0, refusal)
            for module in [module for module in sys.modules if module.partition(".")[0] == "torch"]:
                del sys.modules[module]
            worker.serve(manual, requests, answers, name)
    finally:
        os._exit(1)
