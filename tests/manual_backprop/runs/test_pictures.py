import math

import numpy as np
import pytest
from matplotlib.image import imread

from manual_backprop import Dataset, History, Split
from manual_backprop.history import Metrics
from manual_backprop.runs.pictures import draw_curves, draw_hidden_units, draw_mistakes


def history_of(epochs, *, valid):
    history = History()
    for epoch in range(epochs):
        valid_metrics = (0.5, 0.8) if valid else (math.nan, math.nan)
        history.append(Metrics(1 / (epoch + 1), 0.9, *valid_metrics), float(epoch))
    return history


@pytest.fixture
def dataset(rng):
    split = Split(rng.integers(0, 256, (30, 12), dtype=np.uint8), rng.integers(0, 3, 30))
    return Dataset(split, split, split, "random", ("A", "B", "C"), (3, 4))


def is_picture(path):
    pixels = imread(path)
    return pixels.shape[0] > 100 < pixels.shape[1] and np.ptp(pixels) > 0.5


@pytest.mark.parametrize("epochs", [0, 1, 3])
@pytest.mark.parametrize("valid", [True, False])
def test_curves_of_any_history(tmp_path, epochs, valid):
    draw_curves(tmp_path / "curves.png", history_of(epochs, valid=valid))
    assert is_picture(tmp_path / "curves.png")


def test_curves_show_the_values(tmp_path):
    draw_curves(tmp_path / "a.png", history_of(3, valid=True))
    draw_curves(tmp_path / "b.png", history_of(4, valid=True))
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "b.png").read_bytes()


@pytest.mark.parametrize("units", [1, 7, 80])
def test_hidden_units_of_any_number(tmp_path, rng, units):
    before, after = rng.normal(size=(2, 12, units))
    draw_hidden_units(tmp_path / "units.png", after, before, (3, 4))
    assert is_picture(tmp_path / "units.png")


def test_hidden_units_that_never_changed_can_be_drawn(tmp_path):
    draw_hidden_units(tmp_path / "units.png", np.ones((12, 4)), np.ones((12, 4)), (3, 4))
    assert is_picture(tmp_path / "units.png")


def test_mistakes_are_the_confident_ones(tmp_path, dataset, monkeypatch):
    titles = []
    monkeypatch.setattr("matplotlib.axes.Axes.set_title", lambda _axes, text, **_: titles.append(text))
    probabilities = np.full((30, 3), 0.1)
    labels = dataset.train.labels
    probabilities[np.arange(30), labels] = 0.8
    for i, certainty in ((4, 0.9), (9, 0.99)):
        probabilities[i] = 0
        probabilities[i, (labels[i] + 1) % 3] = certainty
    draw_mistakes(tmp_path / "mistakes.png", dataset.train, probabilities, dataset)
    letters = [(dataset.class_names[labels[i]], dataset.class_names[(labels[i] + 1) % 3]) for i in (9, 4)]
    assert titles == [f"{letters[0][0]}, not {letters[0][1]} (99%)", f"{letters[1][0]}, not {letters[1][1]} (90%)"]


def test_no_mistake_can_be_drawn_too(tmp_path, dataset):
    draw_mistakes(tmp_path / "mistakes.png", dataset.train, np.eye(3)[dataset.train.labels], dataset)
    assert is_picture(tmp_path / "mistakes.png")
