"""How tensors are laid: the same entries, at other places in memory."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch_reference.checker.functions.probes.calls import called  # noqa: E402 (needs torch)
from torch_reference.checker.functions.probes.layout import (  # noqa: E402
    LAYOUTS,
    _expanded,
    _has_layout,
    layout,
    outer_transposed,
    scattered,
    sliced,
    transposed,
)
from torch_reference.checker.functions.probes.trial import Trial  # noqa: E402


@pytest.mark.parametrize(
    ("lay", "shape", "stride", "offset"),
    [
        (transposed, (), (), 0),
        (transposed, (3,), (1,), 0),
        (transposed, (2, 3), (1, 2), 0),
        (transposed, (2, 3, 4), (12, 1, 3), 0),
        (outer_transposed, (3,), (1,), 0),
        (outer_transposed, (2, 3), (3, 1), 0),
        (outer_transposed, (2, 3, 4), (4, 8, 1), 0),
        (outer_transposed, (2, 2, 3, 4), (24, 4, 8, 1), 0),
        (sliced, (), (), 0),
        (sliced, (3,), (1,), 3),
        (sliced, (2, 3), (9, 1), 3),
        (scattered, (3,), (1,), 3),
        (scattered, (2, 3), (1, 8), 3),
        (scattered, (2, 3, 4), (1, 8, 24), 3),
    ],
)
def test_where_entries_lie(lay, shape, stride, offset):
    tensor = torch.arange(1.0, 1.0 + torch.Size(shape).numel()).reshape(shape)
    laid = lay(tensor)
    assert torch.equal(laid, tensor)
    assert (laid.stride(), laid.storage_offset()) == (stride, offset)


@pytest.mark.parametrize(
    ("dtype", "around"),
    [(torch.float32, None), (torch.float64, None), (torch.int32, 2**31 - 1), (torch.uint8, 255), (torch.bool, True)],
)
@pytest.mark.parametrize("lay", [sliced, scattered])
def test_what_surrounds_a_slice_is_nothing_to_compute_with(lay, dtype, around):
    wide = torch.empty(0, dtype=dtype).set_(lay(torch.zeros(2, 3, dtype=dtype)).untyped_storage())
    numbers = 2 * 9 if lay is sliced else 3 * 8
    assert len(wide) == numbers
    poisoned = wide.isnan() if around is None else wide == around
    assert int(poisoned.sum()) == numbers - 6


def test_an_expanded_tensor_is_one_entry_everywhere():
    expanded = _expanded(torch.arange(5.0, 11).reshape(2, 3))
    assert (expanded.tolist(), expanded.stride()) == ([[5, 5, 5], [5, 5, 5]], (0, 0))
    for alone in (torch.tensor(3.0), torch.ones(2, 0)):
        assert _expanded(alone) is alone


def test_what_can_be_laid_in_ways():
    assert [_has_layout(value) for value in (0.5, None, torch.tensor(1.0), torch.ones(1), torch.ones(0))] == [False] * 5
    assert _has_layout(torch.ones(2))
    assert list(LAYOUTS) == [
        *("transposed", "transposed in its outer axes", "a slice of a wider tensor", "reversed in a wider tensor"),
    ]


def doubling(forward=lambda x: 1, backward=lambda x, g: 1):
    """Return a function that doubles; where its tensors lie, it takes another factor or refuses."""

    class Double(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return 2 * x * forward(x)

        @staticmethod
        def backward(ctx, g):
            (x,) = ctx.saved_tensors
            return 2 * g * backward(x, g)

    return Double.apply


def refuse():
    raise ValueError("lies in a strange way\nand more")


X = torch.arange(1.0, 7.0, dtype=torch.float64).reshape(2, 3)
UPSTREAM = "Wrong where the upstream gradient is {}; right for a contiguous one."
REFUSED = "The backward pass refuses an upstream gradient that is {}: ValueError: lies in a strange way"


@pytest.mark.parametrize(
    ("function", "found"),
    [
        (doubling(), {}),
        (doubling(backward=lambda x, g: 1 + (g.stride() == (0, 0))), {"x": UPSTREAM.format("expanded (stride 0)")}),
        (doubling(backward=lambda x, g: refuse() if g.stride() == (0, 0) else 1),
         {"x": REFUSED.format("expanded (stride 0)")}),
        (doubling(backward=lambda x, g: 1 + (g.stride()[-1] > 1)), {"x": UPSTREAM.format("transposed")}),
        (doubling(backward=lambda x, g: 1 + (g.stride() == (9, 1))),  # right where it is reversed, too
         {"x": UPSTREAM.format("a slice of a wider tensor")}),
        (doubling(backward=lambda x, g: 1 + (g.storage_offset() > 0)),
         {"x": UPSTREAM.format("a slice of a wider tensor")}),
        (doubling(backward=lambda x, g: 1 + (g.stride() == (1, 8))),
         {"x": UPSTREAM.format("reversed in a wider tensor")}),
        (doubling(backward=lambda x, g: refuse() if g.stride()[-1] > 1 else 1), {"x": REFUSED.format("transposed")}),
        (doubling(lambda x: refuse() if not x.is_contiguous() else 1), {}),  # with an error, and no wrong numbers
        (doubling(lambda x: 1 + (not x.is_contiguous())),
         {"output": "Wrong where x is transposed; right for a contiguous one."}),
        (doubling(backward=lambda x, g: 1 + (x.stride() == (1, 8))),
         {"x": "Wrong where x is reversed in a wider tensor; right for a contiguous one."}),
        (doubling(backward=lambda x, g: refuse() if x.stride()[-1] > 1 else 1),
         {"x": "Wrong where x is transposed: ValueError: lies in a strange way"}),
    ],
)  # fmt: skip
def test_what_is_found(function, found):
    upstream = {"output": torch.ones(2, 3, dtype=torch.float64)}
    answer = called(function, {"x": X}, upstream, ("x",), 0)
    trial = Trial(function, {"x": X}, upstream, ("x",), 0, answer, lambda name: np.zeros((2, 3)))
    assert layout(trial) == found


def test_what_is_no_tensor_has_no_layout():
    def power(x, number, name):
        return x**number

    upstream = {"output": torch.ones(2, 3, dtype=torch.float64)}
    inputs = {"x": X, "number": 2, "name": "power"}
    answer = called(power, inputs, upstream, ("x",), 0)
    assert layout(Trial(power, inputs, upstream, ("x",), 0, answer, lambda name: np.zeros((2, 3)))) == {}
