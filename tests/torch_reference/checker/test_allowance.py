"""What rounding explains, in numbers that can be computed by hand."""

import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("torch")
from torch_reference.checker.allowance import Allowance, _means, bound, raised
from torch_reference.checker.formats import FLOAT16, FLOAT32, FLOAT64

LIFTED = FLOAT32.epsilon, FLOAT64.epsilon  # inputs in float32, evaluated in float64


def allowance(epsilon, evaluated, size=1, **measured):
    gradients = {"x": np.broadcast_to(3.0, size)}
    return Allowance(SimpleNamespace(seed=7), gradients, epsilon, evaluated, 0, True, **measured)


def test_noise_is_small_where_there_are_digits_to_spare_and_else_eight_units():
    lifted, native = allowance(*LIFTED), allowance(FLOAT32.epsilon, FLOAT32.epsilon)
    assert (lifted.amplitude, native.amplitude) == (2.0**-36, 2.0**-20)
    assert (lifted.factor, native.factor) == (8, 8 * math.sqrt(2))
    assert (lifted.per_move, native.per_move) == (5 * 2.0**13, pytest.approx(0.625 * math.sqrt(2)))


def test_draws_have_seeds_of_their_own():
    drawn = set()
    for seed in range(3):
        known = replace(allowance(*LIFTED), reference=SimpleNamespace(seed=seed))
        drawn |= {known.noise(number).jitter._multiplier for number in (0, 1, 998, 999)}
    assert len(drawn) == 12
    assert known.noise(0, {"a"}).decompose == {"a"}


@pytest.mark.parametrize(("size", "large"), [(2**19, True), (2**19 - 1, False)])
def test_all_entries_together_make_a_check_large(size, large):
    known = allowance(*LIFTED, size=size - 1)
    assert not known.large
    known.gradients["y"] = np.zeros(1)
    assert known.large is large


def test_the_allowance_of_one_entry():
    known = allowance(FLOAT32.epsilon, 2.0**-40)
    value, moved = np.array([3.0]), np.array([2.0**-36])
    limit = bound(known, moved, 2, value, FLOAT32.epsilon)
    assert limit == 19 * 2.0**-40 * 5 * 2.0**12 + 12 * 2.0**-24 + 4 * 2.0**-149
    assert bound(known, 2 * moved, 4, 0 * value, FLOAT32.epsilon) == 2.0**-35 * 5 * 2.0**11 + 4 * 2.0**-149
    assert bound(known, 0 * moved, 1, 0 * value, FLOAT32.epsilon) == 4 * 2.0**-149
    assert bound(known, 0 * moved, 1, 0 * value, FLOAT16.epsilon) == 4 * 2.0**-24


def test_other_ways_to_add_up_are_allowed_twice():
    known = allowance(*LIFTED, draws=2, moved={"x": np.array([0.0])})
    wider = allowance(*LIFTED, draws=2, moved={"x": np.array([0.0])}, extra={"x": np.array([0.5])})
    assert wider.allowed("x") == known.allowed("x") + 1
    assert known.allowed("x", FLOAT16.epsilon) > 8000 * known.allowed("x")


@pytest.mark.parametrize(
    ("scatter", "draws", "values", "expected"),
    [
        (2.0, 1, 1.0, 2.0),
        ([2.0], 1, None, [2.0]),
        ([1, 9], 1, None, [2, 9]),  # twice as much, since two entries have one draw each
        ([1, 9], 2, None, [math.sqrt(2), 9]),
        ([4, 6], 1, None, [5, 6]),  # no more than the mean
        ([[1, 3], [9, 27]], 1, None, [[2, 3], [9, 27]]),
        ([[1, 9], [3, 27]], 1, None, [[2, 9], [3, 27]]),
        ([[8, 0], [8, 8]], 1, None, [[8, 0], [8, 8]]),
        ([[8, 4, 6], [8, 8, 12]], 1, None, [[8, 6, 6], [8, 8, 12]]),
        ([1, 999], 1, [1, 1], [200, 999]),  # a hundred times rarer
        ([1, 1], 1, [-1, 3], [1, 1.5]),
        ([1, 1], 1, [0, 0], [1, 1]),
        ([1, 1], 1, [0, 1.5e-300], [1, 1.5]),
        ([[2, 2], [2, 2]], 1, [[1, 1], [1, 5]], [[2, 2], [2, 10 / 3]]),
    ],
)
def test_small_scatters_are_raised(scatter, draws, values, expected):
    values = None if values is None else np.array(values, float)
    np.testing.assert_allclose(raised(np.array(scatter, float), draws, values), expected, rtol=1e-14)


def test_scatters_in_several_blocks_are_raised_in_the_same_way(rng):
    scatter, values = np.abs(rng.normal(size=(2, 3, 2**16)))
    pools = [array.mean(axis=axis, keepdims=True) for array in (scatter, values) for axis in (1, 0)]
    limits = [pool * np.maximum(values / mean, 1) for pool, mean in zip(pools[:2], pools[2:], strict=True)]
    lucky = (100 * scatter.size) ** 0.5 * scatter
    expected = np.maximum(scatter, np.minimum(np.minimum(*limits), lucky))
    np.testing.assert_allclose(raised(scatter.copy(), 2, values), expected, rtol=1e-12)


def test_means_along_every_axis():
    array = np.arange(-12.0, 12).reshape(2, 3, 4)
    for axis, found in enumerate(_means(array)):
        others = tuple({0, 1, 2} - {axis})
        np.testing.assert_allclose(found, np.abs(array).mean(axis=others, keepdims=True), rtol=1e-14)
    assert _means(np.array([-1.0, 3.0])) == [2]
