"""The options of both training commands."""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar

Number = TypeVar("Number", int, float)

LARGEST = 2**31 - 1
"""The largest count that is accepted; a larger one can only be a mistake."""

NETWORKS: dict[str, dict[str, Any]] = {
    "mlp": {"hidden": [1000], "optimizer": "momentum", "batch_size": None, "epochs": 200},
    "cnn": {"hidden": [784], "optimizer": "adam", "learning_rate": 1e-4, "batch_size": 32, "epochs": 50},
}
"""The networks, each with the defaults of the assignment's part about it."""

OPTIMIZERS: dict[str, dict[str, Any]] = {
    "momentum": {"learning_rate": 0.1, "weight_decay": 0.0},
    "adam": {"learning_rate": 1e-3, "weight_decay": 0.0},
    "adamw": {"learning_rate": 1e-3, "weight_decay": 0.01},
}
"""The optimizers with their defaults; a network may have others."""


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
        "--network",
        choices=NETWORKS,
        default="mlp",
        help="cnn has other defaults: --hidden 784 --optimizer adam --learning-rate 1e-4 --batch-size 32 --epochs 50",
    )
    parser.add_argument("--hidden", nargs="+", type=_positive, metavar="H", help="units of hidden layers")
    parser.add_argument("--dropout", type=_fraction, default=0.0, metavar="P", help="hidden units dropped, 0 to 1")
    parser.add_argument("--epochs", type=_positive, help="passes over the training set")
    parser.add_argument("--optimizer", choices=OPTIMIZERS, help="adam and adamw: --learning-rate 1e-3")
    parser.add_argument("--learning-rate", type=_learning_rate, metavar="ALPHA", help="alpha")
    parser.add_argument(
        "--momentum", type=_fraction, default=0.9, metavar="GAMMA", help="gamma, of --optimizer momentum, 0 to 1"
    )
    parser.add_argument(
        "--weight-decay", type=_decay, metavar="LAMBDA", help="L2 for adam; decoupled for adamw, which has 0.01"
    )
    parser.add_argument(
        "--batch-size", type=_positive, metavar="B", help="examples an update; %(default)s means all of them"
    )
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32", help="precision")
    parser.add_argument("--seed", type=_seed, default=0, help="decides the initial weights, the minibatches, dropout")
    parser.add_argument(
        "--out", type=_folder, default=Path("runs") / side, metavar="DIR", help="folder for the results"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in DIR")
    parser.add_argument("--quiet", action="store_true", help="print nothing but warnings and errors")
    parser.set_defaults(**_defaults("mlp", None))
    return parser


def _defaults(network: str, optimizer: str | None) -> dict[str, Any]:
    """Return the defaults that depend on the network and on the optimizer; None stands for the network's own."""
    of_network = NETWORKS[network]
    optimizer = optimizer or of_network["optimizer"]
    return OPTIMIZERS[optimizer] | of_network | {"optimizer": optimizer}


class _Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line, and whose defaults depend on the network and the optimizer."""

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        self.set_defaults(optimizer=None)
        chosen = super().parse_args(args)
        self.set_defaults(**_defaults(chosen.network, chosen.optimizer))
        options = super().parse_args(args, namespace)
        if options.network == "cnn" and len(options.hidden) != 1:
            self.error(f"--hidden: the cnn has one hidden layer, got {len(options.hidden)} sizes")
        if options.optimizer == "momentum" and options.weight_decay:
            self.error("--weight-decay: momentum has none; give it with --optimizer adam or adamw")
        return options

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {' '.join(message.split())}\n")


def _count(text: str) -> int:
    return _checked(text, int, lambda value: 0 <= value <= LARGEST, f"a whole number from 0 to {LARGEST}")


def _positive(text: str) -> int:
    return _checked(text, int, lambda value: 1 <= value <= LARGEST, f"a whole number from 1 to {LARGEST}")


def _seed(text: str) -> int:
    return _checked(text, int, lambda value: value >= 0, "a whole number, 0 or more")


def _learning_rate(text: str) -> float:
    return _checked(text, float, lambda value: 1e-30 <= value <= 1e30, "a number from 1e-30 to 1e30")


def _fraction(text: str) -> float:
    return _checked(text, float, lambda value: 0 <= value < 1, "a number from 0 to below 1")


def _decay(text: str) -> float:
    return _checked(text, float, lambda value: 0 <= value <= 1e30, "a number from 0 to 1e30")


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
