"""A command as the whole of its process: its exit status, its errors in one line, its versions."""

import platform
import signal
import sys
import warnings
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from manual_backprop.history import DivergenceError


def as_process(run: Callable[[], int]) -> int:
    """Call `run` and return the exit status of the process.

    0: done; 1: training diverged; 2: it could not run; 130: interrupted, what was reached is saved (143: by SIGTERM).
    """
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            return run()
    except DivergenceError as error:
        return _fail(error, status=1)
    except (ValueError, OSError, MemoryError) as error:
        return _fail(error, status=2)
    except KeyboardInterrupt:
        return 130
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the outcome is decided


def versions() -> dict[str, str]:
    """Return the versions of Python and of what computed."""
    packages = [name for name in ("numpy", "torch") if name in sys.modules]
    return {"python": platform.python_version()} | {name: sys.modules[name].__version__ for name in packages}


def _fail(error: BaseException, status: int) -> int:
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    else:
        text = str(error) or type(error).__name__
    with suppress(OSError):  # nobody may be reading
        print(f"error: {' '.join(text.split())}", file=sys.stderr)
    return status


def _show_warning(message: Warning | str, *_: Any, **__: Any) -> None:
    print(f"warning: {message}", file=sys.stderr)
