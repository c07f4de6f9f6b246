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
    assert describe(factor, INPUTS).startswith(words)
    assert describe(-factor, INPUTS) == describe(factor, INPUTS)


@pytest.mark.parametrize("factor", [1.2345, 101.0, 1 / 101, 0.123])
def test_other_factors_have_none(factor):
    assert describe(factor, INPUTS) == ""


def test_a_name_must_be_close():
    assert describe(2 * (1 + 0.9e-3), {}, close=1e-3)
    assert not describe(2 * (1 + 1.1e-3), {}, close=1e-3)
