"""What decides the outcome of a run, and the network that it begins with."""

import argparse
import zlib
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from manual_backprop.data.datasets import Dataset
from manual_backprop.networks import CNN, MLP

Configuration = Mapping[str, Any]

FREE = ("epochs", "out", "resume", "quiet")
"""The options that may differ when a run is resumed: the number of epochs may grow."""


def configure(options: argparse.Namespace, dataset: Dataset) -> Configuration:
    """Return what decides the outcome of a run, apart from the number of epochs."""
    chosen = {name: value for name, value in vars(options).items() if name not in FREE}
    return (
        {"side": options.side}
        | chosen
        | {
            "data": dataset.source,
            "data_crc32": _checksum(dataset),
            "split": [len(dataset.train), len(dataset.valid), len(dataset.test)],
            "sizes": [dataset.features, *options.hidden, dataset.classes],
        }
    )


def initial_network(configuration: Configuration) -> MLP | CNN:
    """Return the untrained network: the same on both sides.

    Raises
    ------
    ValueError
        If the network cannot take images of this shape.
    """
    sizes, seed, dtype = (configuration[name] for name in ("sizes", "seed", "dtype"))
    if configuration["network"] == "mlp":
        return MLP.xavier(sizes, seed, dtype, configuration["dropout"])
    features, hidden, classes = sizes
    return CNN.xavier(seed, dtype, features=features, classes=classes, hidden=hidden, dropout=configuration["dropout"])


def network_bytes(configuration: Configuration) -> int:
    """Return what the network takes while a checkpoint is written: ten numbers for each weight or bias, at most."""
    sizes = configuration["sizes"]
    if configuration["network"] == "cnn":
        sizes = [8 * sizes[0], *sizes[1:]]  # 32 feature maps of a quarter of the pixels
    weights = sum((fan_in + 1) * fan_out for fan_in, fan_out in pairwise(sizes))
    return 10 * weights * np.dtype(configuration["dtype"]).itemsize


def _checksum(dataset: Dataset) -> int:
    """Tell data of one name and size apart, so that no run goes on with other images."""
    checksum = 0
    for split in (dataset.train, dataset.valid, dataset.test):
        checksum = zlib.crc32(split.labels.tobytes(), checksum)
        for start in range(0, len(split), 1000):  # they may be more than memory holds
            checksum = zlib.crc32(split.images[start : start + 1000].tobytes(), checksum)
    return checksum
