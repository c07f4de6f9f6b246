"""The allowance: wide enough for any honest way to compute a gradient, and no wider."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
from torch_reference import crosscheck  # noqa: E402 (needs torch)
from torch_reference.checker.allowance import raised  # noqa: E402
from torch_reference.checker.reference.evaluation import Reference  # noqa: E402
from torch_reference.checker.rounding import measure  # noqa: E402

SEEDS = st.integers(0, 2**32 - 1)


def product_sum(x, w):
    return ((x @ w) ** 2).sum()


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("order", ["forwards", "backwards", "shuffled", "pairs"])
@settings(max_examples=10)
@given(SEEDS)
def test_a_sum_may_be_added_up_in_any_order(dtype, order, seed):
    rng = np.random.default_rng(seed)
    x, upstream = rng.normal(size=(500, 4)).astype(dtype), rng.normal(size=500).astype(dtype)

    def manual(x, upstream, w):
        terms = x * upstream[:, None]
        if order == "pairs":
            terms = terms[::2] + terms[1::2]
        elif order != "forwards":
            terms = terms[::-1] if order == "backwards" else rng.permutation(terms)
        total = np.zeros_like(w)
        for term in terms:
            total += term
        return {"w": total}

    report = crosscheck(manual, lambda x, upstream, w: (x @ w * upstream).sum(),
                        {"x": x, "upstream": upstream, "w": np.ones(4, dtype)})  # fmt: skip
    assert report.ok, report


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_ten_thousand_equal_terms_may_drift(dtype):
    """0.1 rounds the same way in every step of a running sum: the error grows like the number of terms."""

    def manual(x, b):
        total = np.zeros_like(b)
        for _ in x:
            total += np.array(0.1, b.dtype)
        return {"b": total}

    inputs = {"x": np.zeros((10_000, 3), dtype), "b": np.ones(3, dtype)}
    tenth = float(np.array(0.1, dtype))
    assert crosscheck(manual, lambda x, b: ((x + b) * tenth).sum(), inputs).ok


@given(SEEDS)
def test_the_allowance_is_a_small_multiple_of_the_rounding_unit(seed):
    rng = np.random.default_rng(seed)
    inputs = {"x": rng.normal(size=(20, 8)), "w": rng.normal(size=(8, 5))}
    measured = measure(Reference(product_sum, inputs, ("x", "w")))
    for name, gradient in measured.gradients.items():
        # sums of at most 20 terms of products of sums of 8: a few dozen roundings each, near the largest entry
        assert measured.allowed(name).max() < 1000 * 2.0**-53 * np.abs(gradient).max()


@given(SEEDS, st.integers(-400, 400))
def test_the_allowance_scales_with_the_inputs(seed, power):
    """A power of two changes no mantissa, so the same noise does the same."""
    rng = np.random.default_rng(seed)
    inputs = {"x": rng.normal(size=(6, 4)), "w": rng.normal(size=(4, 3))}
    scaled = inputs | {"w": inputs["w"] * 2.0**power}
    one, other = [measure(Reference(lambda x, w: (x @ w).sum(), each, ("x",))) for each in (inputs, scaled)]
    ratio = other.allowed("x") / (one.allowed("x") * 2.0**power)
    assert (ratio > 0.1).all()
    assert (ratio < 10).all()


def test_a_dead_unit_gets_no_allowance(rng):
    inputs = {"x": rng.normal(size=(5, 4)), "w": rng.normal(size=(4, 3))}
    inputs["w"][:, 1] = 0
    measured = measure(Reference(lambda x, w: (torch.relu(x @ w - (w == 0).all(0) * 1.0) ** 2).sum(), inputs, ("w",)))
    assert (measured.gradients["w"][:, 1] == 0).all()
    assert (measured.allowed("w")[:, 1] < 1e-300).all()


def test_rows_of_different_size_have_their_own_allowance(rng):
    x = rng.normal(size=(6, 4)) * 10.0 ** np.array([[-12], [-6], [0], [6], [12], [0]])
    inputs = {"x": x, "w": rng.normal(size=6)}
    measured = measure(Reference(lambda x, w: (torch.tanh(x.mean(1)) * x.sum(1) * w).sum(), inputs, ("w",)))
    relative = measured.allowed("w") / np.abs(measured.gradients["w"])
    assert (relative < 1e-12).all()


@given(SEEDS, st.integers(1, 30))
def test_a_scatter_is_raised_by_chance_at_most(seed, draws):
    scatter = np.abs(np.random.default_rng(seed).normal(size=(9, 7))) ** 3
    higher = raised(scatter.copy(), draws)
    assert (higher >= scatter).all()
    assert (higher <= np.maximum(scatter, scatter.size ** (1 / draws) * scatter)).all()
    assert (higher <= np.maximum(scatter, scatter.mean(axis=0))).all()
