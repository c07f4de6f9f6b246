"""Every factor that has a name is named, and no other."""

import math

import numpy as np
import pytest

pytest.importorskip("torch")
from torch_reference.checker.causes.factors import describe

INPUTS = {"x": np.zeros((32, 7)), "w": np.zeros((7, 11)), "rate": np.array(0.3), "unit": np.array(1.0), "n": 2}


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (32, "32 is axis 0 of x: the mean over the batch is missing"),
        (1 / 32, "32 is axis 0 of x: the mean is taken twice"),
        (11, "11 is axis 1 of w: a mean is missing"),
        (2, "the 1/2 of a square is missing"),
        (0.5, "the 2 of a square's derivative is missing"),
        (0.3, "it is rate"),
        (1 / 0.3, "it is 1/rate"),
        (0.09, "it is the square of rate"),
        (1 / 0.09, "it is 1 over the square of rate"),
        (0.7, "it is (1 - rate)"),
        (1 / 0.7, "it is 1/(1 - rate)"),
        (math.sqrt(11), "it is sqrt(11), and 11 is axis 1 of w"),
        (1 / math.sqrt(11), "it is 1/sqrt(11), and 11 is axis 1 of w"),
        (121, "it is the square of 11"),
        (1 / 121, "it is 1 over the square of 11"),
        (77, "the product of 7 (axis 1 of x) and 11 (axis 1 of w)"),
        (1 / 77, "1 over the product of 7"),
        (7 / 11, "the quotient of 7"),
        (11 / 7, "the inverse quotient of 7"),
        (22, "2 times 11"),
        (2 / 11, "2 over 11"),
        (5.5, "11/2"),
        (1 / 22, "1/(2*11)"),
        (11 / 10, "n/(n - 1) with n = 11"),
        (10 / 11, "(n - 1)/n with n = 11"),
        (97, "97, a whole number"),
        (1 / 97, "1/97"),
        (1e4, "a power of ten"),
        (1e-6, "a power of ten"),
        (math.log(2), "log 2"),
        (1 / math.log(2), "1/log 2"),
        (math.log(10), "log 10"),
        (1 / math.log(10), "1/log 10"),
        (math.sqrt(2), "sqrt 2"),
        (1 / math.sqrt(2), "1/sqrt 2"),
        (math.pi, "pi"),
        (2 * math.pi, "2 pi"),
    ],
)
def test_a_factor_with_a_name(factor, words):
    found = describe(factor, INPUTS)
    assert found.startswith(words)
    assert not found[len(words) :][:1].isalnum()
    assert describe(-factor, INPUTS) == describe(factor, INPUTS)


@pytest.mark.parametrize(
    ("factor", "inputs", "words"),
    [
        (1.0, INPUTS, "1, a whole number"),  # neither a scalar of 1 nor the quotient of an axis by itself
        (1e-6, {}, "a power of ten"),
        (1e6, {}, "a power of ten"),
        (100, {}, "100, a whole number"),
        (1 / 100, {}, "1/100"),
        (1 / 3, {}, "1/3"),
        (3, {"x": np.zeros(3)}, "3 is axis 0 of x: the mean over the batch is missing"),
        (4, {"x": np.zeros((1, 2))}, "4, a whole number"),  # two rows are no batch
        (1 / 11, INPUTS, "11 is axis 1 of w: one mean is taken that should not be"),
        (3, {"zero": 0.0}, "3, a whole number"),
        (0.25, {"beta": 1.5}, "1/4"),  # 1 - beta is no rate
        (1.5, {"beta": -1.5}, "it is beta"),
        (4, {"beta": 2.0}, "it is the square of beta"),
        (7, {"name": "mean", "on": True, "beta": np.array([7.0])}, "7, a whole number"),
        (3, {"tiny": 1e-200, "huge": 1e200, "infinite": np.inf}, "3, a whole number"),
    ],
)
def test_what_comes_first(factor, inputs, words):
    assert describe(factor, inputs) == words


@pytest.mark.parametrize("factor", [1.2345, 101.0, 1 / 101, 0.123, 1e7, 1e-7])
def test_other_factors_have_none(factor):
    assert describe(factor, INPUTS) == ""


def test_a_name_must_be_close():
    assert describe(2 * (1 + 0.9e-9), {})
    assert not describe(2 * (1 + 1.5e-9), {})
    assert describe(2 * (1 + 0.9e-3), {}, close=1e-3)
    assert not describe(2 * (1 + 1.1e-3), {}, close=1e-3)
