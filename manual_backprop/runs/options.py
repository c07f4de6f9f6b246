"""The options of both training commands."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TypeVar

Number = TypeVar("Number", int, float)

MOST = 2**31 - 1
"""Of anything that is counted; what is beyond can only be a mistake."""


def make_parser(side: str, description: str) -> argparse.ArgumentParser:
    """Return a parser with the options that both commands have; the defaults are the assignment's values."""
    parser = _Parser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.set_defaults(side=side)
    parser.add_argument(
        "--data", default="glyphs", metavar="SOURCE", help="glyphs, glyphs:DIR or a path; see the README"
    )
    parser.add_argument(
        "--split",
        nargs=3,
        type=_count,
        metavar=("TRAIN", "VALID", "TEST"),
        help="examples in each set; %(default)s means 10000, 6000, rest if there are 16000, else 70, 20, 10 percent",
    )
    parser.add_argument(
        "--hidden", nargs="+", type=_positive, default=[1000], metavar="H", help="units of hidden layers"
    )
    parser.add_argument("--epochs", type=_positive, default=200, help="passes over the training set")
    parser.add_argument("--learning-rate", type=_learning_rate, default=0.1, metavar="ALPHA", help="alpha")
    parser.add_argument("--momentum", type=_momentum, default=0.9, metavar="GAMMA", help="gamma, 0 or more, below 1")
    parser.add_argument(
        "--batch-size", type=_positive, metavar="B", help="examples an update; %(default)s means all of them"
    )
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32", help="precision")
    parser.add_argument("--seed", type=_seed, default=0, help="decides the initial weights and the minibatches")
    parser.add_argument(
        "--out", type=_folder, default=Path("runs") / side, metavar="DIR", help="folder for the results"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in DIR")
    parser.add_argument("--quiet", action="store_true", help="print nothing but warnings and errors")
    return parser


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {' '.join(message.split())}\n")


def _count(text: str) -> int:
    return _checked(text, int, lambda value: 0 <= value <= MOST, f"a whole number from 0 to {MOST}")


def _positive(text: str) -> int:
    return _checked(text, int, lambda value: 1 <= value <= MOST, f"a whole number from 1 to {MOST}")


def _seed(text: str) -> int:
    return _checked(text, int, lambda value: value >= 0, "a whole number, 0 or more")


def _learning_rate(text: str) -> float:
    return _checked(text, float, lambda value: 1e-30 <= value <= 1e30, "a number from 1e-30 to 1e30")


def _momentum(text: str) -> float:
    return _checked(text, float, lambda value: 0 <= value < 1, "a number from 0 to below 1")


def _folder(text: str) -> Path:
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
