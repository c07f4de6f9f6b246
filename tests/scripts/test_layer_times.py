"""Every layer is timed, and both sides of a row do the same."""

import numpy as np
import pytest

pytest.importorskip("torch")

from benchmarks.layers.fast_forms import FAST_FORMS
from benchmarks.layers.measured import compared, passes
from benchmarks.layers.problems import PROBLEMS
from layer_checks import as_tuple
from layer_table import CASES


def test_no_layer_is_left_out():
    assert PROBLEMS.keys() == CASES.keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", PROBLEMS)
def test_both_sides_compute_the_same_gradients(rng, name):
    ours, theirs = passes(name, PROBLEMS[name], rng)
    for mine, other in zip(as_tuple(ours()), theirs(), strict=True):
        # float32, sums over up to 25,088 terms; a wrong option would show in the first digit
        np.testing.assert_allclose(mine, other, rtol=1e-3, atol=1e-3 * other.abs().max())


@pytest.mark.slow
@pytest.mark.parametrize("form", FAST_FORMS, ids=lambda form: form.file)
def test_the_fast_forms_run(rng, form):
    assert compared(*form.prepare(rng), rounds=1, shortest=0)["of_pytorch"] > 0
