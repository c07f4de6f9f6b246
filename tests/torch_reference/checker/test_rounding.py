"""The allowance: wide enough for any honest way to compute a gradient, and no wider."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
from torch_reference import crosscheck  # noqa: E402 (needs torch)
from torch_reference.checker import allowance, rounding  # noqa: E402
from torch_reference.checker.allowance import raised  # noqa: E402
from torch_reference.checker.reference.evaluation import Reference  # noqa: E402
from torch_reference.checker.reference.operations import FUSED, SUMS_BY_RESULT  # noqa: E402
from torch_reference.checker.rounding import CLOSER, closer, distance, measure  # noqa: E402

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


def counted(loss, **inputs):
    """Return a reference, and a list that is as long as it was evaluated often."""
    calls = []

    def reference(**tensors):
        calls.append(tensors)
        return loss(**tensors)

    return Reference(reference, inputs, tuple(inputs)), calls


@pytest.mark.parametrize(
    ("dtype", "size", "draws"),
    [(np.float64, 3, [2, 8, 24, 24]), (np.float32, 3, [4, 10, 26, 26]), (np.float64, 30, [1, 2, 6, 6])],
)
def test_each_effort_adds_its_draws(monkeypatch, dtype, size, draws):
    monkeypatch.setattr(allowance, "LARGE", 30)
    reference, calls = counted(lambda x: (x * x).sum(), x=np.zeros(size, dtype))
    known = measure(reference)
    found = [known.draws]
    assert len(calls) == 1 + known.draws
    for effort in closer(known):
        known = measure(reference, effort, known)
        found.append(known.draws)
    assert found == draws
    assert len(calls) == 1 + known.draws + 2  # with naive sums, and to see whether there is a softplus
    assert (known.evaluated, known.epsilon) == (2.0**-52, np.finfo(dtype).eps)


def test_softplus_is_also_computed_exactly():
    reference, calls = counted(lambda x: torch.nn.functional.softplus(x).sum(), x=np.array([1.0, 25.0]))
    known = measure(reference, CLOSER[-1])
    assert len(calls) == 1 + 3
    assert known.draws == 0
    # 1 - sigmoid(25) and the other way to round
    np.testing.assert_allclose(known.extra["x"], [0.0, 1.4e-11], rtol=0.01, atol=2e-16)


def test_naive_sums_show_what_they_do_unless_they_decide_otherwise():
    x = np.full(2000, 0.1, np.float32)
    smooth, _ = counted(lambda x: x.sum() ** 2 / 2, x=x)
    extra = measure(smooth, CLOSER[-1]).extra["x"]
    assert (extra > 1e-4).all()
    split, _ = counted(lambda x: torch.relu(x.sum() - 2000 * float(x[0].detach())), x=x)
    assert measure(split, CLOSER[-1]).extra.get("x", np.zeros(1)).max() < 1


@pytest.mark.parametrize(("size", "first"), [(3, frozenset()), (2**19, FUSED - SUMS_BY_RESULT)])
def test_noise_goes_into_fused_operations_where_one_looks_closer_or_draws_are_dear(monkeypatch, size, first):
    seen = []

    def drawn(known, number, decompose):
        seen.append(decompose)
        return known

    monkeypatch.setattr(rounding, "_drawn", drawn)
    reference, _ = counted(lambda x: x.sum(), x=np.zeros(size))
    for effort in (rounding.FIRST, CLOSER[0]):
        measure(reference, effort)
    assert seen == [first, FUSED]


def test_noise_decides_nothing_otherwise():
    reference, calls = counted(lambda x: torch.relu(1e8 * (3 * x - 1)).sum(), x=np.full(40, 1 / 3))
    known = measure(reference)
    assert len(calls) == 1 + 2 + 1 + 2  # each draw decides otherwise and is made again, as the plain one decided
    assert known.moved["x"].max() < 1e-5


def test_a_loss_that_fails_in_float64_is_not_called_again():
    def fails(x):
        raise ArithmeticError

    reference, calls = counted(fails, x=np.ones(3))
    with pytest.raises(ArithmeticError):
        measure(reference)
    assert len(calls) == 1


def test_a_loss_of_single_numbers_is_held_to_float64():
    assert measure(counted(lambda a: a * a, a=1.5)[0]).evaluated == 2.0**-52


def test_what_is_not_finite_is_at_no_distance():
    one = {"x": np.array([1.0, np.inf, np.nan, -2.0])}
    assert distance(one, {"x": np.array([3.0, 1.0, 1.0, np.inf])})["x"].tolist() == [2, 0, 0, 0]
    assert distance({"x": np.zeros(0)}, {"x": np.zeros(0)})["x"].size == 0
