"""What a run leaves when it has ended: measurements, weights, pictures and a summary."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from manual_backprop.arrays import Array
from manual_backprop.data.datasets import Dataset, Split
from manual_backprop.history import DivergenceError, History
from manual_backprop.networks import CNN, Classifier
from manual_backprop.runs.configuration import Configuration, initial_network
from manual_backprop.runs.folder import RunFolder
from manual_backprop.runs.pictures import draw_curves, draw_hidden_units, draw_mistakes
from manual_backprop.runs.process import versions

Measured = Mapping[str, tuple[float, float]]
"""Mean loss and accuracy of "train", "valid" and "test"; NaN for an empty set."""


def measure(evaluate: Callable[[Split], tuple[float, float]], dataset: Dataset, epochs: int) -> Measured:
    """Measure each set with the final weights.

    Raises
    ------
    DivergenceError
        If a loss is not finite.
    """
    splits = {"train": dataset.train, "valid": dataset.valid, "test": dataset.test}
    with np.errstate(over="ignore", invalid="ignore"):
        measured = {name: evaluate(split) for name, split in splits.items()}
    for name, (loss, _) in measured.items():
        if len(splits[name]) and not math.isfinite(loss):
            raise DivergenceError(
                f"the {name} loss is {loss} after epoch {epochs}: the learning rate is likely too high"
            )
    return measured


def write_results(
    folder: RunFolder,
    configuration: Configuration,
    network: Classifier,
    history: History,
    measured: Measured,
    dataset: Dataset,
) -> None:
    """Write the weights, the pictures and, last, the summary.

    Raises
    ------
    OSError
        If a file cannot be written; it names the file.
    """
    network.save(folder.weights_path)
    draw_curves(folder.path / "curves.png", history)
    shape = (3, 3) if isinstance(network, CNN) else dataset.image_shape
    if shape is not None:
        weight, initial_weight = _first_weight(network), _first_weight(initial_network(configuration))
        draw_hidden_units(folder.path / "hidden_units.png", weight, initial_weight, shape)
    if dataset.image_shape is not None:
        held_out = next(split for split in (dataset.test, dataset.valid, dataset.train) if len(split))
        draw_mistakes(folder.path / "mistakes.png", held_out, network.predict_proba(held_out.images), dataset)
    folder.write_summary(_summary(configuration, history, measured, len(dataset.train)))


def _first_weight(network: Classifier) -> Array:
    """Return the first layer's weights, (inputs, units)."""
    weight = next(iter(network.parameters.values()))
    return weight.reshape(len(weight), -1).T if isinstance(network, CNN) else weight


def _summary(configuration: Configuration, history: History, measured: Measured, examples: int) -> dict[str, Any]:
    epochs_per_second = len(history) / history.seconds[-1]
    return {
        "configuration": {**configuration, "epochs": len(history)},
        "versions": versions(),
        "metrics": {
            f"{name}_{kind}": None if math.isnan(value) else value  # of an empty set; JSON has no NaN
            for name, pair in measured.items()
            for kind, value in zip(("loss", "accuracy"), pair, strict=True)
        },
        "throughput": {
            "epochs_per_second": epochs_per_second,
            "examples_per_second": epochs_per_second * examples,
        },
    }
