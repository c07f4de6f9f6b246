"""Early stopping waits as long as it says and keeps the best weights."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manual_backprop.early_stopping import EarlyStopping

losses = st.lists(st.floats(0, 10) | st.just(float("nan")), min_size=1, max_size=20)


@given(losses, st.integers(1, 5), st.floats(0, 1))
def test_it_stops_after_its_patience_and_keeps_the_least_loss(losses, patience, tolerance):
    parameters = {"weight": np.zeros(2)}
    stopping = EarlyStopping(parameters, patience, tolerance)
    seen = []
    for number, loss in enumerate(losses):
        parameters["weight"][...] = number
        seen.append(loss)
        stop = stopping.after(loss)
        waited = len(seen) > patience and all(
            not later < min([least for least in seen[: -patience + i] if least == least], default=np.inf) - tolerance
            for i, later in enumerate(seen[-patience:])
        )
        assert not stop or waited or np.isnan(seen[-patience:]).all()
        if stop:
            break
    finite = [loss for loss in seen if loss == loss]
    stopping.restore()
    if finite:
        assert stopping.least == min(finite)
        assert parameters["weight"][0] == seen.index(min(finite))


def test_it_stops_exactly_when_patience_is_used_up():
    stopping = EarlyStopping({}, patience=2, tolerance=0.1)
    assert [stopping.after(loss) for loss in (1.0, 0.5, 0.45, 0.3, 0.25, 0.35)] == [False] * 5 + [True]
    assert stopping.least == 0.25


def test_a_patience_below_one_is_refused():
    with pytest.raises(ValueError, match="expected a patience of 1 epoch or more, got 0"):
        EarlyStopping({}, patience=0)
