"""The process of a file that nobody trusts: it loads the file and answers calls of its `manual` with arrays.

`remote` runs it as a program, `python -I worker.py REQUESTS ANSWERS SECONDS`, and hands over two pipes. It needs NumPy
and safetensors only and never loads PyTorch. Whatever the file prints, patches or breaks here, all that can leave is a
safetensors block of numbers or a line of text.
"""

import os
import pickle
import struct
import sys
import traceback
import types
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

ARRAYS, ERROR = b"a", b"e"
"""The first byte of an answer: gradients and the inputs after the call, or one line that says why there are none."""

LENGTH = struct.Struct(">Q")

MEMORY = 2 << 30
"""Bytes of address space: NumPy takes a tenth of them."""

FILE_SIZE = 16 << 20
"""Bytes of the largest file that may be written."""


def main() -> None:
    """Load the file that the first request holds and answer the others."""
    requests, answers, seconds = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    name, source = pickle.loads(receive(requests))  # noqa: S301 (from the parent, which is trusted)
    _limit(seconds)
    _guard(os.getcwd())
    try:
        module = types.ModuleType(name)
        module.__file__ = name
        sys.modules[name] = module
        exec(compile(source, name, "exec"), module.__dict__)  # noqa: S102 (what this process is for)
        manual = module.__dict__.get("manual")
        if not callable(manual):
            raise AttributeError("there is no function manual")
    except BaseException as error:
        send(answers, ERROR + explain(error, name).encode(errors="replace"))
        return
    serve(manual, requests, answers, name)


def serve(manual: Callable[..., Any], requests: int, answers: int, name: str) -> None:
    """Call `manual` with the inputs of each request until there are no more."""
    while request := receive(requests):
        inputs = pickle.loads(request)  # noqa: S301 (from the parent, which is trusted)
        try:
            gradients = as_arrays(manual(**inputs))
            after = {f"inputs/{key}": value for key, value in inputs.items() if isinstance(value, np.ndarray)}
            answer = ARRAYS + save({f"gradients/{key}": value for key, value in gradients.items()} | after)
        except BaseException as error:  # SystemExit too: nothing that a file raises may end this process
            answer = ERROR + explain(error, name).encode(errors="replace")
        send(answers, answer)


def as_arrays(gradients: Any) -> dict[str, NDArray[Any]]:
    """Return what `manual` returned as plain arrays; None stands for a gradient that is missing.

    Raises
    ------
    TypeError
        If it is not a dict of arrays of real numbers.
    """
    if not isinstance(gradients, Mapping):
        raise TypeError(f"manual must return a dict of gradients, but it returned {type(gradients).__name__}")
    arrays = {}
    for name, value in gradients.items():
        if value is None:
            continue
        try:
            array = np.array(value, order="C", subok=False)
        except ValueError:
            array = np.array(None)
        if array.dtype.kind not in "fiub":
            kind = type(value).__name__
            raise TypeError(f"the gradient for {name!r} is not an array of real numbers: {kind} ({array.dtype})")
        arrays[str(name)] = array.astype(np.float64) if array.dtype.itemsize > 8 else array
    return arrays


def explain(error: BaseException, name: str) -> str:
    """Say in one line what a file raised, and where in the file."""
    text = " ".join(str(error).split()) or "no message"
    if isinstance(error, SyntaxError):
        return f"line {error.lineno or 1}: {error.msg}"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == name]
    kind = type(error).__name__
    return f"line {frames[-1].lineno}, in {frames[-1].name}: {kind}: {text}" if frames else text


def receive(pipe: int) -> bytes:
    """Return the next message; nothing at the end."""
    header = _read(pipe, LENGTH.size)
    return _read(pipe, LENGTH.unpack(header)[0]) if len(header) == LENGTH.size else b""


def send(pipe: int, message: bytes) -> None:
    """Write a message, its length before it."""
    rest = memoryview(LENGTH.pack(len(message)) + message)
    while rest:
        rest = rest[os.write(pipe, rest) :]


def _read(pipe: int, count: int) -> bytes:
    parts = bytearray()
    while len(parts) < count and (part := os.read(pipe, count - len(parts))):
        parts += part
    return bytes(parts)


def _limit(seconds: float) -> None:
    """Bound memory, processor time, files and core dumps, where the system can."""
    try:
        import resource
    except ImportError:  # Windows
        return
    limits = {"AS": MEMORY, "CPU": int(seconds) + 1, "FSIZE": FILE_SIZE, "NOFILE": 256, "CORE": 0}
    for name, value in limits.items():
        kind = getattr(resource, f"RLIMIT_{name}", None)
        if kind is not None:
            resource.setrlimit(kind, (value, value))


FORBIDDEN = {
    "start or end processes": "os.exec os.fork os.forkpty os.kill os.killpg os.posix_spawn os.spawn os.startfile "
    "os.system pty.spawn signal.pthread_kill subprocess.Popen",
    "use the network": "socket.bind socket.connect socket.getaddrinfo socket.sendto",
    "change files that are there": "os.chmod os.chown os.link os.remove os.rename os.rmdir os.symlink os.truncate",
    "call C": "ctypes.dlopen ctypes.dlsym",
}
"""What no gradient needs, and Python's audit events that announce it."""


def _guard(folder: str) -> None:
    """Refuse what no gradient needs. An audit hook cannot be taken off again."""
    import importlib.util
    import sysconfig

    own, torch = importlib.util.find_spec("manual_backprop"), importlib.util.find_spec("torch")
    readable = {folder, sys.prefix, sys.base_prefix, *sysconfig.get_paths().values(), os.path.dirname(np.__path__[0])}
    readable |= {"/dev/null", "/dev/urandom", "/etc/localtime", "/proc/cpuinfo", "/proc/meminfo"}
    readable |= set(own.submodule_search_locations or ()) if own else set()
    real, decode, separator = os.path.realpath, os.fsdecode, os.sep
    hidden = tuple(real(path) for path in torch.submodule_search_locations or ()) if torch else ()
    writable = tuple(real(path) for path in (folder, "/dev/null"))
    roots = tuple(real(path) for path in readable)
    refused = {event: words for words, events in FORBIDDEN.items() for event in events.split()}
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

    def inside(path: str, folders: tuple[str, ...]) -> bool:
        return any(path == root or path.startswith(root + separator) for root in folders)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event in refused:
            raise PermissionError(f"a file under test may not {refused[event]}")
        if event == "import" and arguments[0].partition(".")[0] == "torch":
            raise ImportError("PyTorch cannot be imported here: the gradient must be derived by hand")
        if event == "open" and not isinstance(arguments[0], int):
            path, flags = real(decode(arguments[0])), arguments[2]
            if inside(path, hidden):
                raise ImportError("PyTorch cannot be imported here: the gradient must be derived by hand")
            if not inside(path, writable if flags & writing else roots):
                raise PermissionError("a file under test may not open files outside its folder")

    sys.addaudithook(hook)


if __name__ == "__main__":
    main()
