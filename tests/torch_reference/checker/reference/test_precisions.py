"""A computation in another precision than it names, and rounding by chance."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch_reference.checker.formats import FLOAT32, FLOAT64  # noqa: E402 (needs torch)
from torch_reference.checker.reference.precisions import ByChance, Cast  # noqa: E402

HALVES = torch.full((4000,), 1.5, dtype=torch.float16)
EPSILON = 2.0**-10


def test_casts_to_floating_types_go_to_the_given_one():
    x = torch.ones(3, dtype=torch.int32)
    with Cast(FLOAT64):
        made = x.float(), x.to(torch.bfloat16), x.double(), x.long(), torch.ones(2, dtype=torch.float16)
    assert [each.dtype for each in made] == [torch.float64] * 3 + [torch.int64, torch.float64]
    with Cast(FLOAT32):
        assert x.double().dtype == torch.float32


def test_random_numbers_stay_those_of_their_seed():
    def draws():
        torch.manual_seed(0)
        return torch.rand(3), torch.randn(3, dtype=torch.float64), torch.rand_like(torch.ones(2))

    plain, before = draws(), torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with Cast(FLOAT64):
            again = draws()
    finally:
        torch.set_default_dtype(before)
    assert [each.dtype for each in again] == [torch.float32, torch.float64, torch.float32]
    assert all(torch.equal(one, other) for one, other in zip(plain, again, strict=True))


def test_results_of_16_bits_move_up_and_down_by_up_to_half_a_unit():
    with ByChance(0):
        moved = HALVES * 1
    # 1.5 (1 + u epsilon) with u from -1/2 to 1/2 rounds to a neighbour where |u| is above 1/3: one time in six each
    steps, counts = np.unique(((moved.double() - 1.5) / EPSILON).numpy(), return_counts=True)
    assert steps.tolist() == [-1, 0, 1]
    np.testing.assert_allclose(counts / 4000, [1 / 6, 2 / 3, 1 / 6], atol=0.03)
    with ByChance(0):
        assert torch.equal(HALVES * 1, moved)
    with ByChance(1):
        assert not torch.equal(HALVES * 1, moved)


def test_what_rounds_nothing_moves_nothing():
    with ByChance(0):
        for same in (HALVES.view(2, 2000), HALVES[:2000], HALVES.relu(), HALVES.amax(), HALVES.float() * 1):
            assert (same == 1.5).all()
        assert (HALVES.float() / 3 == 0.5).all()
        assert (HALVES[:0] * 2).shape == (0,)
    assert (HALVES == 1.5).all()


def test_what_is_written_in_place_moves_once():
    mine = HALVES.clone()
    with ByChance(0):
        mine.mul_(1)
        alone = mine.clone()
    with ByChance(0):
        assert torch.equal(HALVES * 1, alone) or set(alone.unique().tolist()) <= {1.5 - EPSILON, 1.5, 1.5 + EPSILON}
    assert mine.unique().numel() == 3


def test_every_result_of_an_operation_moves():
    with ByChance(0):
        mean, spread = torch.var_mean(HALVES.reshape(-1, 2) * torch.tensor([1, 2], dtype=torch.float16), 1)[::-1]
    assert mean.unique().numel() > 1
    assert spread.unique().numel() > 1
