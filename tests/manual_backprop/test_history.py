import csv
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manual_backprop.history import DivergenceError, History, Metrics

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
VALIDATIONS = st.tuples(NUMBERS, NUMBERS) | st.just((math.nan, math.nan))
ROWS = st.lists(st.builds(lambda a, b, valid, c: (a, b, *valid, c), NUMBERS, NUMBERS, VALIDATIONS, NUMBERS), max_size=5)


@given(ROWS)
def test_csv_holds_every_number_in_full(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("history") / "history.csv"
    history = History()
    for row in rows:
        history.append(Metrics(*row[:4]), row[4])
    history.write_csv(path)
    with path.open(newline="") as file:
        header, *lines = csv.reader(file)
    assert header == ["epoch", "train_loss", "train_accuracy", "valid_loss", "valid_accuracy", "seconds"]
    assert [int(line[0]) for line in lines] == list(range(1, len(rows) + 1))
    for line, row in zip(lines, rows, strict=True):
        assert repr([float(text) for text in line[1:]]) == repr(list(row))  # repr: NaN and -0.0 count too


@pytest.mark.parametrize(
    ("metrics", "words"),
    [
        (Metrics(math.nan, 0, 1, 0), "training loss became nan"),
        (Metrics(math.inf, 0, math.nan, math.nan), "training loss became inf"),
        (Metrics(1, 0, math.inf, 0), "validation loss became inf"),
        (Metrics(1, 0, math.nan, 0), "validation loss became nan"),
    ],
)
def test_a_loss_that_is_not_finite_ends_training(metrics, words):
    history = History()
    history.append(Metrics(1, 0, math.nan, math.nan), 0.5)  # no validation set: fine
    with pytest.raises(DivergenceError, match=f"{words} in epoch 2: the learning rate is likely too high"):
        history.append(metrics, 1.0)
    assert len(history) == 1


def test_a_notebook_shows_the_curves():
    history = History()
    assert history._repr_html_() == "<p>No epoch has been trained.</p>"
    history.append(Metrics(2.3, 0.1, float("nan"), float("nan")), 0.5)
    assert "validation" not in history._repr_html_()
    history.append(Metrics(1.5, 0.5, 1.7, 0.4), 1.0)
    html = history._repr_html_()
    assert '<img style="background: white; max-width: 100%" alt="Loss and accuracy by epoch: 2 epochs; ' in html
    assert 'src="data:image/png;base64,iVBOR' in html
    assert html.count("training loss 1.5, accuracy 0.5000; validation loss 1.7, accuracy 0.4000") == 2
