"""Noise on every result: as large as promised, and nothing that was equal, zero or infinite becomes anything else."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")
from torch_reference.checker.reference.noise import RoundingNoise  # noqa: E402 (needs torch)
from torch_reference.checker.reference.operations import FUSED  # noqa: E402 (needs torch)

SEEDS = st.integers(0, 2**32 - 1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16])
@given(SEEDS)
def test_noise_is_relative_and_fills_its_range(dtype, seed):
    x = torch.from_numpy(np.random.default_rng(seed).normal(size=400) + 3).to(dtype)
    amplitude = 64 * torch.finfo(dtype).eps
    moved = ((RoundingNoise(amplitude, seed).jitter.moved(x) - x) / x).double()
    # one unit in the last place on top: the sum is rounded
    assert moved.abs().max() <= amplitude + torch.finfo(dtype).eps
    assert moved.min() < -0.5 * amplitude
    assert moved.max() > 0.5 * amplitude
    assert moved.mean().abs() < 0.2 * amplitude  # 400 draws from a uniform distribution: seven standard deviations


@given(SEEDS)
def test_zeros_infinities_and_ties_survive(seed):
    x = torch.tensor([0.0, -0.0, torch.inf, -torch.inf, 2.5, 2.5, 1e-310, torch.nan], dtype=torch.float64)
    noisy = RoundingNoise(1e-3, seed).jitter.moved(x)
    assert (noisy[:2] == 0).all()
    assert torch.equal(noisy[2:4], x[2:4])
    assert noisy[4] == noisy[5]
    assert noisy[6] > 0
    assert noisy[7].isnan()


def test_without_amplitude_nothing_changes(rng):
    x, w = torch.from_numpy(rng.normal(size=(5, 4))), torch.from_numpy(rng.normal(size=(4, 3)))
    with RoundingNoise(0.0, 0):
        result = torch.softmax(x @ w, 1).sum(0)
    assert torch.equal(result, torch.softmax(x @ w, 1).sum(0))


@given(SEEDS)
def test_equal_rows_of_a_product_stay_equal(seed):
    rng = np.random.default_rng(seed)
    x = torch.from_numpy(np.repeat(rng.normal(size=(1, 30)), 4, axis=0))
    w = torch.from_numpy(rng.normal(size=(30, 6)))
    with RoundingNoise(1e-6, seed):
        product = x @ w
    assert torch.equal(product, product[:1].expand(4, 6))
    assert not torch.equal(product, x @ w)


@pytest.mark.parametrize("make", [torch.randn, torch.ones])
def test_the_noise_of_a_long_sum_grows_like_the_error_of_adding_term_by_term(make):
    terms = 4096
    torch.manual_seed(0)
    x = make(terms, dtype=torch.float64)
    totals = []
    for seed in range(200):
        with RoundingNoise(1e-9, seed):
            totals.append(float(x.sum()))
    scatter = np.std(totals)
    running = float((x.cumsum(0) ** 2).sum().sqrt()) * 1e-9  # every partial sum rounded by 1e-9
    assert 0.1 * running < scatter < 3 * running


def test_cancellation_inside_a_fused_operation_shows_when_it_is_taken_apart():
    logits = torch.tensor([[30.0, 0.0]], dtype=torch.float64)
    upstream = torch.tensor([[1.0, 1.0]], dtype=torch.float64)
    changes = []
    for seed in range(20):
        leaf = logits.clone().requires_grad_()
        with RoundingNoise(1e-9, seed, decompose=FUSED):
            loss = (torch.softmax(leaf, 1) * upstream).sum()
            changes.append(float(torch.autograd.grad(loss, leaf)[0][0, 0]))
    assert 1e-11 < np.std(changes) < 1e-8  # the exact gradient is 0, as p (1 - p - q)


def test_decisions_are_told_apart(rng):
    x = torch.from_numpy(rng.normal(size=8))
    seen = set()
    for sign in (1.0, 1.0, -1.0):
        with RoundingNoise(0.0, 0) as noise:
            torch.relu(sign * x)
        seen.add(noise.decisions)
    assert len(seen) == 2


def test_noise_leads_no_operand_out_of_its_domain():
    ones = torch.ones(8, dtype=torch.float64)
    for seed in range(8):  # equal numbers get equal noise: about half of the seeds lead above 1
        with RoundingNoise(1e-9, seed) as noise:
            noise.begin([ones])
            assert torch.nn.functional.binary_cross_entropy(ones, ones) < 1e-7  # 2.2e-8 where both are 1 - 1e-9
