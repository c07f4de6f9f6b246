"""The pictures that a training run leaves: its curves, what the hidden units look for, its worst mistakes."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from manual_backprop.arrays import Array, to_rows
from manual_backprop.curves import curves
from manual_backprop.data.datasets import Dataset, Split
from manual_backprop.history import History
from manual_backprop.storage.files import replacing


def draw_curves(path: Path, history: History) -> None:
    """Draw loss (left) and accuracy (right) by epoch, as the report's Figure 10."""
    _save(curves(history), path)


def draw_hidden_units(
    path: Path, weight: Array, initial_weight: Array, image_shape: tuple[int, int], count: int = 60
) -> None:
    """Draw what the hidden units learned to look for, each unit as an image (red adds to it, blue takes away).

    That is the change of the incoming weights: the noise that they started from is still in them, and larger.

    Parameters
    ----------
    weight, initial_weight : (F, H), the first layer's, after and before training
    image_shape : height and width of an image, F = height · width
    count : how many units to draw, those that changed most
    """
    change = weight - initial_weight
    most_changed = np.argsort(-np.linalg.norm(change.astype(np.float64), axis=0), kind="stable")[:count]
    figure, cells = _grid(len(most_changed), cell=0.8)
    for axes, unit in zip(cells, most_changed, strict=False):
        image = change[:, unit].reshape(image_shape)
        limit = np.abs(image).max()
        axes.imshow(image, cmap="RdBu_r", vmin=-limit, vmax=limit)
    figure.suptitle(
        f"What hidden units learned to look for ({len(most_changed)} of {weight.shape[1]}, those that changed most)"
    )
    _save(figure, path)


def draw_mistakes(path: Path, split: Split, probabilities: Array, dataset: Dataset, count: int = 40) -> None:
    """Draw the wrong predictions of which the network is most certain, with true and predicted class.

    Parameters
    ----------
    split : the N examples
    probabilities : (N, K), as predicted
    dataset : knows the classes' names and the shape of an image
    """
    predicted = probabilities.argmax(axis=1)
    certainty = probabilities.max(axis=1)
    mistakes = np.flatnonzero(predicted != split.labels)
    worst = mistakes[np.argsort(-certainty[mistakes], kind="stable")][:count]
    figure, cells = _grid(max(len(worst), 1), cell=1.25)
    for axes, i in zip(cells, worst, strict=False):
        axes.imshow(to_rows(split.images[i], np.float32).reshape(dataset.image_shape), cmap="gray", vmin=0, vmax=1)
        true, guess = dataset.class_names[split.labels[i]], dataset.class_names[predicted[i]]
        axes.set_title(f"{true}, not {guess} ({certainty[i]:.0%})", fontsize=8)
    figure.suptitle(
        f"The most confident of {len(mistakes)} mistakes in {len(split)} examples: true class, not predicted"
    )
    _save(figure, path)


def _grid(count: int, cell: float) -> tuple[Figure, list[Axes]]:
    """Return a figure with a cell, of `cell` inches, for each of `count` images."""
    columns = min(count, 10)
    rows = -(-count // columns)
    figure = Figure(figsize=(max(columns * cell, 7), rows * cell * 1.1 + 0.6), layout="constrained")
    cells = list(figure.subplots(rows, columns, squeeze=False).flat)
    for axes in cells:
        axes.axis("off")
    return figure, cells


def _save(figure: Figure, path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)
