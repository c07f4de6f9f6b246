import itertools

import pytest

from manual_backprop.optimizers.schedule import WARM_UP, warm_up_and_cosine


def test_rises_to_the_peak_and_falls_to_a_tenth():
    rates = [warm_up_and_cosine(step, 2000, 1e-3) for step in range(2000)]
    assert rates[0] == pytest.approx(1e-3 / 101)
    assert all(before < after for before, after in itertools.pairwise(rates[: WARM_UP + 1]))
    assert rates[WARM_UP] == max(rates) == pytest.approx(1e-3)
    assert all(before > after for before, after in zip(rates[WARM_UP:], rates[WARM_UP + 1 :], strict=False))
    assert rates[-1] == pytest.approx(1e-4)
    assert rates[(WARM_UP + 1999) // 2] == pytest.approx(5.5e-4, rel=1e-2)  # half-way


@pytest.mark.parametrize("steps", [1, 50, 100, 101, 102])
def test_a_short_run_may_end_while_it_warms_up(steps):
    rates = [warm_up_and_cosine(step, steps, 1.0) for step in range(steps)]
    assert all(0 < rate <= 1 for rate in rates)
