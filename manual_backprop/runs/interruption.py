"""Ctrl-C, or a polite kill: finish the epoch and save; the second time, stop at once."""

import os
import signal
from contextlib import suppress
from types import FrameType, TracebackType

NOTICE = b"\nfinishing this epoch; once more stops at once and keeps the last checkpoint\n"

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM") if hasattr(signal, name)]
"""What asks a process to end, of the signals that the system has."""


class Interruption:
    """While entered, take note of `SIGNALS` in `status` instead of stopping half-way.

    Parameters
    ----------
    quiet : say nothing

    Attributes
    ----------
    status : the exit status that is due: 0, or 128 + the signal's number
    """

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self.status = 0

    def __enter__(self) -> "Interruption":
        self.previous = {number: signal.signal(number, self._note) for number in SIGNALS}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self.status:
            raise KeyboardInterrupt
        self.status = 128 + number
        if not self.quiet:
            with suppress(OSError):  # nobody may be reading
                os.write(2, NOTICE)  # not print: it may be what the signal broke into


def ignore_signals() -> None:
    """Ignore `SIGNALS` from now on."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
