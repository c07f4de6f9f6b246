"""The parent's side of `worker`: start it, ask it with a deadline, and take nothing from it but arrays and one line."""

import contextlib
import os
import pickle
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load

from torch_reference.grading import worker

LARGEST_ANSWER = 256 << 20
"""Bytes: gradients whose batch sum was forgotten still fit."""

LONGEST_TEXT = 300

CHUNK = 1 << 16

ENVIRONMENT = {f"{library}_NUM_THREADS": "1" for library in ("OMP", "OPENBLAS", "MKL", "VECLIB_MAXIMUM")}
"""All that the file may know of the environment, and its working folder."""


class SubmissionError(Exception):
    """The file under test gave no gradients; the text is one line for people."""


class Answer(NamedTuple):
    """What one call of `manual` left: its gradients, and the arrays that it was called with."""

    gradients: dict[str, NDArray[Any]]
    inputs: dict[str, NDArray[Any]]


class Remote:
    """The `manual` of a file in a process of its own, the leader of its process group.

    Parameters
    ----------
    process : int
        Its number.
    requests, answers : int
        Pipes to it and from it.
    seconds : float
        Time for all its answers together.
    """

    def __init__(self, process: int, requests: int, answers: int, seconds: float) -> None:
        self.process, self.requests, self.answers, self.seconds = process, requests, answers, seconds
        self._deadline = time.monotonic() + seconds
        os.set_blocking(requests, False)

    def __call__(self, inputs: Mapping[str, Any]) -> Answer:
        """Call `manual` with these inputs.

        Raises
        ------
        SubmissionError
            If there is no answer, or one that is not a set of arrays.
        """
        self.send(pickle.dumps(dict(inputs)))
        answer = self._receive()
        if answer[:1] == worker.ERROR:
            raise SubmissionError(one_line(answer[1:].decode(errors="replace")))
        try:
            arrays = load(answer[1:]) if answer[:1] == worker.ARRAYS else None
        except (SafetensorError, ValueError, KeyError, TypeError):
            arrays = None
        if arrays is None:
            raise SubmissionError("its process answered with something that is not a set of arrays")
        parts: dict[str, dict[str, NDArray[Any]]] = {"gradients": {}, "inputs": {}}
        for name, array in arrays.items():
            part, _, key = name.partition("/")
            if part in parts and array.dtype.kind in "fiub":
                parts[part][key] = array
        return Answer(**parts)

    def send(self, message: bytes) -> None:
        """Write a message to the process, which need not read it."""
        rest = memoryview(worker.LENGTH.pack(len(message)) + message)
        while rest:
            self._wait(write=True)
            try:
                rest = rest[os.write(self.requests, rest[:CHUNK]) :]
            except BrokenPipeError:
                return  # it has ended: its last answer, or the lack of one, says why

    def _receive(self) -> bytes:
        (length,) = worker.LENGTH.unpack(self._read(worker.LENGTH.size))
        if length > LARGEST_ANSWER:
            raise SubmissionError(f"its answer has {length:,} bytes; at most {LARGEST_ANSWER:,} are read")
        return self._read(length)

    def _read(self, count: int) -> bytes:
        parts = bytearray()
        while len(parts) < count:
            self._wait(write=False)
            part = os.read(self.answers, min(count - len(parts), CHUNK))
            if not part:
                raise SubmissionError(self._ending())
            parts += part
        return bytes(parts)

    def _wait(self, write: bool) -> None:
        left = self._deadline - time.monotonic()
        ready = select.select([] if write else [self.answers], [self.requests] if write else [], [], max(left, 0))
        if left <= 0 or not any(ready):
            raise SubmissionError(f"no answer within {self.seconds:g} s")

    def _ending(self) -> str:
        """Say how a process ended that closed its pipe."""
        for _ in range(50):
            status = os.waitid(os.P_PID, self.process, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if status is not None and status.si_code == os.CLD_EXITED:
                return f"its process ended with status {status.si_status} before it answered"
            if status is not None:
                return f"its process was ended by signal {status.si_status} before it answered"
            time.sleep(0.01)
        return "it closed the pipe for its answer"

    def kill(self) -> None:
        """End the process and all others of its group."""
        for end in (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                end(self.process, signal.SIGKILL)


@contextlib.contextmanager
def started(name: str, source: bytes, seconds: float) -> Iterator[Remote]:
    """Start a worker without PyTorch on the text of a file, in an empty folder, and end it with all that it left.

    Parameters
    ----------
    name : str
        What the file is called in messages. Its place is not told.
    source : bytes
        Its text.
    seconds : float
        As for `Remote`.
    """
    with (
        tempfile.TemporaryDirectory(prefix="grading-", ignore_cleanup_errors=True) as folder,
        pipes() as (requests, answers),
    ):
        command = [sys.executable, "-I", "-B", str(Path(worker.__file__)), str(requests[0]), str(answers[1])]
        with subprocess.Popen(  # noqa: S603 (this interpreter)
            [*command, str(seconds)],
            cwd=folder,
            env=ENVIRONMENT | {"HOME": folder, "TMPDIR": folder},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=(requests[0], answers[1]),
            start_new_session=True,
        ) as process:
            remote = Remote(process.pid, requests[1], answers[0], seconds)
            try:
                os.close(requests.pop(0))
                os.close(answers.pop(1))
                remote.send(pickle.dumps((name, source)))
                yield remote
            finally:
                remote.kill()


@contextlib.contextmanager
def pipes() -> Iterator[tuple[list[int], list[int]]]:
    """Make two pipes, each as [read, write], and close what is left of them."""
    requests, answers = list(os.pipe()), list(os.pipe())
    try:
        yield requests, answers
    finally:
        for end in requests + answers:
            os.close(end)


def replayed(
    remote: Remote, answers: Sequence[Answer] = (), wanted: Sequence[str] | None = None
) -> Callable[..., dict[str, Any]]:
    """Return a `manual` that gives the answers that are there, then asks for more, and changes its inputs likewise.

    Parameters
    ----------
    remote : Remote
        Where to ask.
    answers : sequence of Answer
        The first answers.
    wanted : sequence of str, optional
        The gradients to pass on; all of them by default.
    """
    rest = list(answers)

    def manual(**inputs: Any) -> dict[str, Any]:
        answer = rest.pop(0) if rest else remote(inputs)
        for name, after in answer.inputs.items():
            given = inputs.get(name)
            if isinstance(given, np.ndarray) and (given.shape, given.dtype) == (after.shape, after.dtype):
                given[...] = after
        order = [name for name in inputs if name in answer.gradients]
        order += [name for name in answer.gradients if name not in inputs]
        return {name: answer.gradients[name] for name in order if wanted is None or name in wanted}

    return manual


def one_line(text: str) -> str:
    """Return text from a stranger as one printable line that is not too long."""
    line = "".join(character if character.isprintable() else " " for character in text)
    line = " ".join(line.split())
    return line if len(line) <= LONGEST_TEXT else line[: LONGEST_TEXT - 3] + "..."
