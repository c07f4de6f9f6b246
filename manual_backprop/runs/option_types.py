"""The types of options: each turns a text into a value, or says in one line what was expected."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TypeVar

Number = TypeVar("Number", int, float)

LARGEST = 2**31 - 1
"""The largest count that is accepted; a larger one can only be a mistake."""


class OneLineParser(argparse.ArgumentParser):
    """A parser whose complaints are one line."""

    def error(self, message: str) -> NoReturn:
        """End the process with status 2 and one line."""
        self.exit(2, f"error: {' '.join(message.split())}\n")


def count(text: str) -> int:
    """Return a number of examples."""
    return _checked(text, int, lambda value: 0 <= value <= LARGEST, f"a whole number from 0 to {LARGEST}")


def positive(text: str) -> int:
    """Return a number of at least one."""
    return _checked(text, int, lambda value: 1 <= value <= LARGEST, f"a whole number from 1 to {LARGEST}")


def seed(text: str) -> int:
    """Return a seed."""
    return _checked(text, int, lambda value: value >= 0, "a whole number, 0 or more")


def learning_rate(text: str) -> float:
    """Return a learning rate, so far from 0 and infinity that float32 holds it."""
    return _checked(text, float, lambda value: 1e-30 <= value <= 1e30, "a number from 1e-30 to 1e30")


def fraction(text: str) -> float:
    """Return a share below one."""
    return _checked(text, float, lambda value: 0 <= value < 1, "a number from 0 to below 1")


def decay(text: str) -> float:
    """Return a weight decay."""
    return _checked(text, float, lambda value: 0 <= value <= 1e30, "a number from 0 to 1e30")


def folder(text: str) -> Path:
    """Return a folder, which need not exist."""
    if not text:
        raise argparse.ArgumentTypeError("expected a folder, got an empty name")
    return Path(text)


def _checked(text: str, kind: Callable[[str], Number], fits: Callable[[Number], bool], expected: str) -> Number:
    try:
        value = kind(text)
    except ValueError:
        fitting = False
    else:
        fitting = fits(value)
    if not fitting:
        raise argparse.ArgumentTypeError(f"expected {expected}, got {text!r}")
    return value
