"""Each formula computes what the operation does that it writes out: the same to the last digits."""

import pytest

torch = pytest.importorskip("torch")
from torch_reference.checker.tape.formulas import FORMULAS  # noqa: E402 (needs torch)


def drawn(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, dtype=torch.float64, generator=generator)


def above(*shape, seed=0):
    return 1 + drawn(*shape, seed=seed).abs()


NORMS = [drawn(3, seed=1), drawn(3, seed=2), drawn(3, seed=3), above(3, seed=4)]
POOL = ([2, 1], [1, 2], [1, 1], False, [0, 0], 1)  # of a convolution: stride, padding, dilation, and so on
# Name, overload, arguments, keywords.
CALLS = [
    ("addmm", "default", (drawn(4), drawn(2, 3, seed=1), drawn(3, 4, seed=2)), {}),
    ("baddbmm", "default", (drawn(5, 2, 4), drawn(5, 2, 3, seed=1), drawn(5, 3, 4, seed=2)), {}),
    ("convolution", "default", (drawn(2, 3, 5, 6), drawn(4, 3, 3, 3, seed=1), drawn(4, seed=2), *POOL), {}),
    (
        "convolution",
        "default",
        (drawn(2, 3, 5), drawn(4, 3, 2, seed=1), drawn(4, seed=2), [1], [0], [1], False, [0], 1),
        {},
    ),
    ("var", "correction", (drawn(3, 4),), {}),
    ("var", "correction", (drawn(3, 4), [0]), {}),
    ("var", "correction", (drawn(3, 4), [-1]), {"correction": 0, "keepdim": True}),
    ("var", "correction", (drawn(3, 4, 5), [0, 2]), {"correction": 2}),
    ("std", "correction", (drawn(3, 4),), {}),
    ("std", "correction", (drawn(3, 4, 5), [1]), {"correction": 0, "keepdim": True}),
    ("var_mean", "correction", (drawn(3, 4),), {}),
    ("var_mean", "correction", (drawn(3, 4, 5), [0, 1]), {"correction": 0, "keepdim": True}),
    ("native_layer_norm", "default", (drawn(2, 3, 5), [5], drawn(5, seed=1), drawn(5, seed=2), 0.1), {}),
    ("native_layer_norm", "default", (drawn(2, 3, 5), [3, 5], None, None, 0.1), {}),
    ("native_group_norm", "default", (drawn(2, 6, 3), drawn(6, seed=1), drawn(6, seed=2), 2, 6, 3, 2, 0.1), {}),
    ("native_group_norm", "default", (drawn(2, 6, 3, 4), drawn(6, seed=1), None, 2, 6, 12, 3, 0.1), {}),
    ("native_group_norm", "default", (drawn(2, 6), None, drawn(6, seed=2), 2, 6, 1, 3, 0.1), {}),
    ("native_batch_norm", "default", (drawn(4, 3, 5), *NORMS, True, 0.0, 0.1), {}),
    ("native_batch_norm", "default", (drawn(4, 3), None, None, None, None, True, 0.0, 0.1), {}),
    ("silu", "default", (drawn(3, 4),), {}),
    ("gelu", "default", (drawn(3, 4),), {}),
    ("gelu", "default", (drawn(3, 4),), {"approximate": "tanh"}),
    ("_prelu_kernel", "default", (drawn(3, 4), drawn(4, seed=1)), {}),
    ("glu", "default", (drawn(2, 3, 4),), {}),
    ("glu", "default", (drawn(4, 3), 0), {}),
    ("mse_loss", "default", (drawn(3, 4), drawn(3, 4, seed=1)), {}),
    ("mse_loss", "default", (drawn(3, 4), drawn(3, 4, seed=1), 0), {}),
    ("mse_loss", "default", (drawn(3, 4), drawn(3, 4, seed=1), 2), {}),
    ("copy", "default", (drawn(3, 4), drawn(4, seed=1).float()), {}),
    ("copy", "default", (drawn(3, 4), drawn(1, seed=1), True), {}),
]  # fmt: skip


def every(result):
    return [tensor.reshape(-1) for tensor in (result if isinstance(result, tuple) else (result,))]


@pytest.mark.parametrize(
    ("name", "overload", "args", "keywords"), CALLS, ids=[f"{number}-{call[0]}" for number, call in enumerate(CALLS)]
)
def test_a_formula_returns_what_its_operation_does(name, overload, args, keywords):
    expected = getattr(getattr(torch.ops.aten, name), overload)(*args, **keywords)
    found = FORMULAS[name](*args, **keywords)
    torch.testing.assert_close(every(found), every(expected), rtol=1e-13, atol=1e-14)
    first, second = (result[0] if isinstance(result, tuple) else result for result in (found, expected))
    assert (first.shape, first.dtype) == (second.shape, second.dtype)


@pytest.mark.parametrize("gain", [0, None])
def test_running_statistics_normalise_outside_training(gain):
    x, (weight, bias, mean, variance) = drawn(4, 3, 5), NORMS
    weight, bias = (weight, bias) if gain is None else (None, None)
    expected = torch.nn.functional.batch_norm(x, mean, variance, weight, bias, False, 0.0, 0.1)
    for name in ("native_batch_norm", "_native_batch_norm_legit", "_native_batch_norm_legit_functional"):
        out, *others = FORMULAS[name](x, weight, bias, mean, variance, False, 0.0, 0.1)
        torch.testing.assert_close(out, expected, rtol=1e-13, atol=1e-14)
        assert others[-2] is mean
        assert others[-1] is variance
    assert len(others) == 4


@pytest.mark.parametrize("missing", [0, 1])
def test_where_a_running_statistic_is_missing_the_batch_s_are_taken(missing):
    x, (weight, bias, mean, variance) = drawn(4, 3, 5), NORMS
    statistics = (None, variance) if missing == 0 else (mean, None)
    expected = torch.nn.functional.batch_norm(x, None, None, weight, bias, True, 0.0, 0.1)
    torch.testing.assert_close(
        FORMULAS["native_batch_norm"](x, weight, bias, *statistics, False, 0.0, 0.1)[0],
        expected,
        rtol=1e-13,
        atol=1e-14,
    )
    assert torch.equal(
        FORMULAS["_native_batch_norm_legit.no_stats"](x, weight, bias, True, 0.0, 0.1)[0],
        FORMULAS["native_batch_norm"](x, weight, bias, mean, variance, True, 0.0, 0.1)[0],
    )


@pytest.mark.parametrize("name", ["addmm", "baddbmm"])
@pytest.mark.parametrize("keyword", ["beta", "alpha"])
def test_a_product_that_is_scaled_is_left_whole(name, keyword):
    args = next(call[2] for call in CALLS if call[0] == name)
    assert FORMULAS[name](*args, **{keyword: 2}) is NotImplemented
    assert FORMULAS[name](*args, **{keyword: 1}) is not NotImplemented


def test_a_convolution_without_bias_is_left_whole():
    assert FORMULAS["convolution"](drawn(2, 3, 5, 6), drawn(4, 3, 3, 3), None, *POOL) is NotImplemented
