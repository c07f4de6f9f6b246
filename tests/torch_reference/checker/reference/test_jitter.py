"""The noise on one tensor: how large it is, what it depends on, and what it leaves alone."""

import math

import pytest

torch = pytest.importorskip("torch")
from torch_reference.checker.reference.jitter import Jitter  # noqa: E402 (needs torch)

AMPLITUDE = 2.0**-10
SEEDS = range(6)
LARGE, PERIOD = 2**18, 65521


def jitter(seed=0, finite=False):
    return Jitter(AMPLITUDE, seed, finite)


def values(*shape):
    """Return different numbers between 1 and 2 and their negatives, in float64."""
    generator = torch.Generator().manual_seed(0)
    numbers = 1 + torch.rand(*shape, generator=generator, dtype=torch.float64)
    return numbers * (torch.randint(0, 2, shape, generator=generator) * 2 - 1)


def drawn(moved, x, scale=None):
    """Return r, of which r times the amplitude times the scale was added to x."""
    return (moved - x) / (x if scale is None else scale) / AMPLITUDE


def assert_fills(r, size):
    assert r.abs().max() <= size * (1 + 1e-9)  # the sum that r comes from is rounded
    assert r.min() < -0.9 * size
    assert r.max() > 0.9 * size


@pytest.mark.parametrize("seed", SEEDS)
def test_the_noise_is_as_large_as_asked_for(seed):
    x = values(400)
    assert_fills(drawn(jitter(seed).moved(x), x), 1)
    assert_fills(drawn(jitter(seed).moved(x, 9.0), x), 3)
    scale = torch.full((400,), 5.0, dtype=torch.float64)
    assert_fills(drawn(jitter(seed).moved(x, scale=scale), x, scale), 1)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("dtype", "precision"), [(torch.float64, 1e-9), (torch.float32, 1e-3)])
def test_every_bit_counts_and_the_sign_moves_it_by_half_its_range(seed, dtype, precision):
    x, ones = values(50).abs().to(dtype), torch.ones(2, 50, dtype=dtype)
    apart = drawn(jitter(seed).moved(x), x) - drawn(jitter(seed).moved(-x), -x)
    torch.testing.assert_close(apart.abs(), torch.ones_like(x), rtol=0, atol=precision)
    up, down = (drawn(jitter(seed).of_terms(each, (1,), 2.0), each) for each in (ones, -ones))
    torch.testing.assert_close((up - down).abs(), ones, rtol=0, atol=precision)


def test_equal_values_move_together_and_another_salt_moves_them_apart():
    x = values(3).repeat(2)
    one, other = jitter(), jitter()
    assert torch.equal(one.moved(x), other.moved(x))
    other.salt = 0x100000001
    assert torch.equal(other.moved(x)[:3], other.moved(x)[3:])
    assert (one.moved(x) != other.moved(x)).all()
    assert (one.moved(x) != jitter(1).moved(x)).all()


def test_what_holds_no_floating_numbers_is_itself():
    whole, alone = torch.arange(4), torch.tensor(1.5)
    assert jitter().moved(whole) is whole
    assert jitter().of_terms(whole, (0,), 4.0) is whole
    assert jitter().of_terms(alone, (), 1.0) is alone


def test_real_and_imaginary_parts_move_by_themselves():
    real, imaginary = values(2, 400)
    z = torch.complex(real, imaginary)
    for given in (z, z.conj()):
        moved = jitter().moved(given, 4.0)
        assert_fills(drawn(moved.real, given.real), 2)
        assert_fills(drawn(moved.imag, given.imag), 2)
        assert not torch.equal(drawn(moved.real, given.real), drawn(moved.imag, given.imag))


def test_infinities_stay_and_who_knows_of_none_gets_the_same_noise():
    x = values(40)
    assert torch.equal(jitter(finite=True).moved(x), jitter().moved(x))
    x[3], x[5] = torch.inf, -torch.inf
    assert all(torch.equal(jitter(seed).moved(x)[[3, 5]], x[[3, 5]]) for seed in SEEDS)


def test_a_constant_moves_unless_its_mantissa_is_short():
    short = (3, None, True, 0.5, 3.0, -6.0, 0.0, 1 + 2.0**-19, -(2.0**40) * (1 + 2.0**-19), math.inf, -math.inf)
    assert all(jitter(seed).constant(number) == number for seed in SEEDS for number in short)
    assert math.isnan(jitter().constant(math.nan))
    long = (0.1, -0.1, 1e-300, 1 + 2.0**-20, math.pi)
    r = torch.tensor([[(jitter(seed).constant(x) - x) / x / AMPLITUDE for x in long] for seed in range(100)])
    assert_fills(r, 1)
    assert (r != 0).all()
    assert (r.mean(0).abs() < 0.3).all()  # five standard deviations of the mean of 100 uniform draws
    assert jitter().constant(0.1) == jitter().constant(0.1)


class TestPartialSums:
    @pytest.mark.parametrize("seed", SEEDS)
    def test_equal_terms_round_apart_and_equal_rows_alike(self, seed):
        x = torch.ones(3, 2, 300, dtype=torch.float64)
        r = drawn(jitter(seed).of_terms(x, (2,), 8.0), x)
        assert_fills(r, 2)
        assert torch.equal(r, r[:1, :1].expand(3, 2, 300))
        assert len(set(r[0, 0].tolist())) == 300
        across = drawn(jitter(seed).of_terms(x, (0, 2), 8.0), x)
        assert len(set(across[:, 0].flatten().tolist())) == 900
        assert torch.equal(across[:, 0], across[:, 1])

    def test_each_term_may_have_a_number_of_its_own(self):
        x = values(3, 4)
        terms = torch.tensor([[8.0], [2.0], [0.0]])
        expected = torch.stack([jitter().of_terms(x, (0, 1), float(row))[k] for k, row in enumerate(terms)])
        torch.testing.assert_close(jitter().of_terms(x, (0, 1), terms), expected, rtol=1e-15, atol=0)

    def test_a_large_operand_moves_as_much(self):
        x = torch.ones(LARGE, dtype=torch.float64)
        assert_fills(drawn(jitter().of_terms(x, (0,), 8.0), x), 2)
        assert (x == 1).all()
        terms = torch.full((LARGE,), 8.0)
        torch.testing.assert_close(
            jitter().of_terms(x[1:], (0,), 8.0), jitter().of_terms(x, (0,), terms)[:-1], rtol=1e-15, atol=0
        )


class TestMeans:
    @pytest.mark.parametrize("width", [1, 4])
    def test_a_mean_is_rounded_alike_in_all_that_it_was_subtracted_from(self, width):
        x = values(300, width, 1)
        before = x.clone()
        moved = jitter().of_means(x, (1, 2))
        assert moved is x
        size = before.square().mean((1, 2), keepdim=True).sqrt()
        r = drawn(moved, before, size)
        assert_fills(r, math.sqrt(0.5))
        torch.testing.assert_close(r, r[:, :1].expand_as(r), rtol=0, atol=1e-9)

    def test_nothing_has_no_mean(self):
        assert jitter().of_means(torch.zeros(3, 0), (1,)).shape == (3, 0)


class TestLarge:
    def test_from_how_many_entries_on_a_pattern_does(self):
        ones = torch.ones(2 * LARGE, dtype=torch.float64)
        for single in (ones[: LARGE - 1], ones[::2]):
            assert len(jitter().moved(single).unique()) == 1
        assert len(jitter().moved(ones[:LARGE]).unique()) > PERIOD - 10

    def test_the_pattern_repeats_and_turns_from_one_operation_to_the_next(self):
        x = torch.ones(LARGE + 5, dtype=torch.float64)
        noise = jitter()
        first = drawn(noise.moved(x, 4.0), x)
        assert_fills(first, 2)
        assert (x == 1).all()
        assert torch.equal(first[PERIOD:], first[:-PERIOD])
        assert (first[1 : PERIOD // 2] != first[: PERIOD // 2 - 1]).all()
        second = drawn(noise.moved(x, 4.0), x)
        torch.testing.assert_close(second[7919 : 7919 + 100], first[:100], rtol=0, atol=1e-9)  # it has come on
        assert not torch.equal(drawn(jitter(1).moved(x, 4.0), x), first)

    def test_a_fresh_one_is_changed_where_it_is(self):
        x = torch.full((LARGE // 2, 2), 3.0, dtype=torch.float64)
        expected = jitter().moved(x)
        assert jitter().moved(x, fresh=True) is x
        assert torch.equal(x, expected)
