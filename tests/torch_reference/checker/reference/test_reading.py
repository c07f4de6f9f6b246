"""What each operation decides on, and which two computations count as having decided alike."""

import pytest

torch = pytest.importorskip("torch")
from torch_reference.checker.reference.decisions import Boundary, Contest, Order  # noqa: E402 (needs torch)
from torch_reference.checker.reference.reading import checksum, decided  # noqa: E402

X = torch.tensor([[1.0, -2.0, 3.0], [4.0, 0.5, -6.0]], dtype=torch.float64)
ROW, COLUMN = X[0], X[:, :1]
WHOLE = torch.arange(6).reshape(2, 3)


@pytest.mark.parametrize(
    ("name", "more", "limits"),
    [
        ("relu", (), [0]),
        ("_prelu_kernel", (torch.tensor(0.1),), [0]),
        ("elu_", (2.0,), [0]),
        ("softshrink", (), [-0.5, 0.5]),
        ("softshrink", (0.25,), [-0.25, 0.25]),
        ("hardshrink", (), [-0.5, 0.5]),
        ("hardswish", (), [-3, 3]),
        ("hardsigmoid", (), [-3, 3]),
        ("threshold", (0.25, 7.0), [0.25]),
        ("clamp", (-1.0, 2.0), [-1, 2]),
        ("clamp", (None, 2.0), [2]),
        ("clamp", (-1.0,), [-1]),
        ("clamp_max", (2,), [2]),
        ("hardtanh", (), [-1, 1]),
        ("hardtanh_", (0.0, 6.0, "ignored"), [0, 6]),
        ("gt", (2,), [2]),
        ("eq", (0.5,), [0.5]),
    ],
)
def test_numbers_that_an_operation_compares_with(name, more, limits):
    decisions = decided(name, (X, *more))
    assert [type(decision) for decision in decisions] == [Boundary] * len(limits)
    for decision, limit in zip(decisions, limits, strict=True):
        assert decision.operand is X
        assert torch.equal(decision.limit, torch.full_like(X, limit))


@pytest.mark.parametrize(
    ("left", "right", "operand", "limit"),
    [
        (X, 2 * X, X, 2 * X),
        (X, ROW, X, ROW.expand(2, 3)),
        (ROW, X, X, ROW.expand(2, 3)),
        (X, WHOLE, X, WHOLE.double()),
        (WHOLE, X, X, WHOLE.double()),
        (WHOLE, ROW.float().expand(2, 3), ROW.float().expand(2, 3), WHOLE.float()),
        (X, ROW.float(), X, ROW.expand(2, 3)),
        (ROW, COLUMN, None, None),  # neither has the shape of the result
        (WHOLE, WHOLE, None, None),
        (WHOLE, 2, None, None),
        (WHOLE, ROW, None, None),  # the floating one is spread out
        (WHOLE[0], X.sum(), None, None),
    ],
)
@pytest.mark.parametrize("name", ["maximum", "lt"])
def test_two_tensors_that_are_compared(name, left, right, operand, limit):
    decisions = decided(name, (left, right))
    assert len(decisions) == (operand is not None)
    for decision in decisions:
        assert torch.equal(decision.operand, operand)
        assert torch.equal(decision.limit, limit)
        assert decision.limit.dtype == operand.dtype


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("mul", (X, X)),
        ("relu", ()),
        ("relu", (3.0,)),
        ("relu", (X[:0],)),
        ("relu", (WHOLE,)),
        ("max", (WHOLE,)),
        ("sort", (WHOLE,)),
    ],
)
def test_operations_that_decide_nothing(name, args):
    assert decided(name, args) == []


@pytest.mark.parametrize(
    ("operand", "more", "rows"),
    [
        (X, (), [[0, 1, 2, 3, 4, 5]]),
        (X, (None,), [[0, 1, 2, 3, 4, 5]]),
        (X, ([],), [[0, 1, 2, 3, 4, 5]]),
        (X, (0,), [[0, 3], [1, 4], [2, 5]]),
        (X, (-1,), [[0, 1, 2], [3, 4, 5]]),
        (X, ([0, 1],), [[0, 1, 2, 3, 4, 5]]),
        (X.reshape(1, 3, 2), ([-3, 2],), [[0, 1], [2, 3], [4, 5]]),
        (X.sum(), (), [[0]]),
        (X.sum(), (0,), [[0]]),
    ],
)
@pytest.mark.parametrize("name", ["amax", "amin", "max", "min", "argmax", "argmin"])
def test_the_entries_that_a_maximum_compares(name, operand, more, rows):
    (decision,) = decided(name, (operand, *more))
    assert isinstance(decision, Contest)
    assert decision.operand is operand
    assert decision.windows.tolist() == rows
    assert decision.side == (-1 if "min" in name else 1)


@pytest.mark.parametrize("name", ["sort", "topk", "median", "multi_margin_loss", "adaptive_max_pool2d"])
def test_operations_of_which_only_the_order_is_known(name):
    (decision,) = decided(name, (X, 1))
    assert isinstance(decision, Order)
    assert decision.operand is X


@pytest.mark.parametrize(
    ("more", "kernel", "stride", "padding", "dilation"),
    [
        ((2,), (2, 2), (2, 2), 0, 1),
        (([2, 3],), (2, 3), (2, 3), 0, 1),
        (([2, 3], []), (2, 3), (2, 3), 0, 1),
        (([2], [1]), (2, 2), (1, 1), 0, 1),
        ((2, 1, 1), (2, 2), (1, 1), 1, 1),
        ((2, [1, 2], [1, 1], [2, 2], False), (2, 2), (1, 2), 1, 2),
    ],
)
@pytest.mark.parametrize("shape", [(3, 4, 5), (2, 1, 4, 5)])
def test_the_entries_that_each_window_of_a_pool_compares(shape, more, kernel, stride, padding, dilation):
    operand = torch.zeros(shape)
    height, width = shape[-2:]
    expected = []
    for channel in range(operand.numel() // (height * width)):
        for top in range(-padding, height + padding - dilation * (kernel[0] - 1), stride[0]):
            for left in range(-padding, width + padding - dilation * (kernel[1] - 1), stride[1]):
                places = [(top + dilation * i, left + dilation * j) for i in range(kernel[0]) for j in range(kernel[1])]
                expected.append(
                    [
                        (channel * height + row) * width + column if 0 <= row < height and 0 <= column < width else -1
                        for row, column in places
                    ]
                )
    (decision,) = decided("max_pool2d_with_indices", (operand, *more))
    assert decision.windows.tolist() == expected
    assert decision.side == 1


def summed(operation, *args, before=0):
    """Return the checksum of one operation's decisions."""
    results = getattr(torch.ops.aten, operation)(*args)
    return checksum(before, operation, args, results if isinstance(results, tuple) else (results,))


def numbers(*values):
    return torch.tensor(values, dtype=torch.float64)


@pytest.mark.parametrize(
    ("name", "args", "alike", "different"),
    [
        ("relu", (numbers(1, -2, 0),), [(numbers(5, -1, 0),)], [(numbers(1, -2, -1),), (numbers(1, -2, 1),)]),
        ("clamp", (numbers(1, 3), 0, 2), [(numbers(1.5, 4), 0, 2)], [(numbers(1, 1), 0, 2), (numbers(-1, 3), 0, 2)]),
        ("amax", (numbers(1, 2, 3),), [(numbers(2, 1, 3),)], [(numbers(1, 3, 2),), (numbers(1, 3, 3),)]),
        ("amin", (numbers(1, 2, 3),), [(numbers(1, 3, 2),)], [(numbers(2, 1, 3),), (numbers(1, 1, 3),)]),
        ("amax", (X, [1]), [(X * 2, [1])], [(X, [0]), (X * torch.tensor([[1.0], [-1.0]]), [1])]),
        ("max", (numbers(1, 2, 3),), [(numbers(2, 1, 3),)], [(numbers(1, 3, 2),), (numbers(1, 3, 3),)]),
        ("argmax", (numbers(0.5, 2),), [(numbers(1, 2),)], [(numbers(2, 1),)]),
        ("sort", (numbers(3, 1, 2),), [(numbers(3, 1, 1),)], [(numbers(3, 2, 1),)]),
        ("max_pool2d_with_indices", (X[None], [1, 3]), [(2 * X[None], [1, 3])], [(-X[None], [1, 3])]),
        ("mul", (numbers(1), numbers(2)), [(numbers(-1), numbers(2))], []),
    ],
)
def test_a_checksum_tells_decisions_apart_and_nothing_else(name, args, alike, different):
    this = summed(name, *args)
    assert all(summed(name, *other) == this for other in alike)
    assert all(summed(name, *other) != this for other in different)
    assert (this == 0) == (name == "mul")
    assert summed(name, *args, before=7) != this


def test_a_checksum_tells_kinds_of_decisions_apart():
    assert len({checksum(0, name, (X,), ()) for name in ("sort", "max", "mul")}) == 3
