"""The options of both training commands."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from manual_backprop.runs.option_types import (
    OneLineParser,
    count,
    decay,
    folder,
    fraction,
    learning_rate,
    positive,
    seed,
)

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
        type=count,
        metavar=("TRAIN", "VALID", "TEST"),
        help="examples in each set; %(default)s means 10000, 6000, rest if there are 16000, else 70, 20, 10 percent",
    )
    parser.add_argument(
        "--network",
        choices=NETWORKS,
        default="mlp",
        help="cnn has other defaults: --hidden 784 --optimizer adam --learning-rate 1e-4 --batch-size 32 --epochs 50",
    )
    parser.add_argument("--hidden", nargs="+", type=positive, metavar="H", help="units of hidden layers")
    parser.add_argument("--dropout", type=fraction, default=0.0, metavar="P", help="hidden units dropped, 0 to 1")
    parser.add_argument("--epochs", type=positive, help="passes over the training set")
    parser.add_argument("--optimizer", choices=OPTIMIZERS, help="adam and adamw: --learning-rate 1e-3")
    parser.add_argument("--learning-rate", type=learning_rate, metavar="ALPHA", help="alpha")
    parser.add_argument(
        "--momentum", type=fraction, default=0.9, metavar="GAMMA", help="gamma, of --optimizer momentum, 0 to 1"
    )
    parser.add_argument(
        "--weight-decay", type=decay, metavar="LAMBDA", help="L2 for adam; decoupled for adamw, which has 0.01"
    )
    parser.add_argument(
        "--batch-size", type=positive, metavar="B", help="examples an update; %(default)s means all of them"
    )
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32", help="precision")
    parser.add_argument("--seed", type=seed, default=0, help="decides the initial weights, the minibatches, dropout")
    parser.add_argument("--out", type=folder, default=Path("runs") / side, metavar="DIR", help="folder for the results")
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in DIR")
    parser.add_argument("--quiet", action="store_true", help="print nothing but warnings and errors")
    parser.set_defaults(**_defaults("mlp", None))
    return parser


def _defaults(network: str, optimizer: str | None) -> dict[str, Any]:
    """Return the defaults that depend on the network and on the optimizer; None stands for the network's own."""
    of_network = NETWORKS[network]
    optimizer = optimizer or of_network["optimizer"]
    return OPTIMIZERS[optimizer] | of_network | {"optimizer": optimizer}


class _Parser(OneLineParser):
    """A parser whose defaults depend on the network and the optimizer."""

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
