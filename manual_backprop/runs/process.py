"""A command as the whole of its process: its exit status, its errors in one line, its versions."""

import os
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


def check_memory(needed: int, options: str = "--hidden, --data") -> None:
    """Compare `needed` bytes with what the machine has, if the system says how much that is.

    Parameters
    ----------
    needed : bytes
    options : what to change, for the message

    Raises
    ------
    ValueError
        If the machine has less.
    """
    available = machine_memory()
    if available is not None and needed > available:
        raise ValueError(f"{options}: this takes {needed / 2**30:.0f} GiB, the machine has {available / 2**30:.0f} GiB")


def machine_memory() -> int | None:
    """Return the bytes of memory; None on a system that does not say."""
    names = ("SC_PAGE_SIZE", "SC_PHYS_PAGES")
    if not set(names) <= getattr(os, "sysconf_names", {}).keys():  # Windows has none of this
        return None
    page_size, pages = (os.sysconf(name) for name in names)
    return page_size * pages if min(page_size, pages) > 0 else None
