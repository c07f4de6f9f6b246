"""How many terms each operation adds up, and over which axes of which operand: sizes are all different."""

import pytest

torch = pytest.importorskip("torch")
from torch_reference.checker.reference.operations import (  # noqa: E402 (needs torch)
    centred_axes,
    partial_sums,
    summed_axes,
    sums_by_result,
)


def zeros(*shape):
    return torch.zeros(shape)


@pytest.mark.parametrize(
    ("name", "args", "expected"),
    [
        ("mm", (zeros(2, 5), zeros(5, 3)), (5, 0, (1,))),
        ("mm", (zeros(4, 5), zeros(5, 3)), (5, 1, (0,))),
        ("mm", (zeros(3, 5), zeros(5, 3)), (5, 0, (1,))),
        ("bmm", (zeros(2, 3, 5), zeros(2, 5, 7)), (5, 0, (2,))),
        ("bmm", (zeros(2, 7, 5), zeros(2, 5, 3)), (5, 1, (1,))),
        ("mv", (zeros(4, 5), zeros(5)), (5, 1, (0,))),
        ("dot", (zeros(5), zeros(5)), (5, 0, (0,))),
        ("addmm", (zeros(3), zeros(2, 5), zeros(5, 3)), (5, 1, (1,))),
        ("addmm", (zeros(3), zeros(4, 5), zeros(5, 3)), (5, 2, (0,))),
        ("baddbmm", (zeros(3), zeros(2, 4, 5), zeros(2, 5, 6)), (5, 1, (2,))),
        ("addmv", (zeros(3), zeros(4, 5), zeros(5)), (5, 2, (0,))),
        ("convolution", (zeros(2, 3, 8, 9), zeros(1, 3, 5, 6)), (90, 1, (1, 2, 3))),
        ("convolution", (zeros(2, 3, 8, 9), zeros(0, 3, 5, 6)), (0, 1, (1, 2, 3))),
        ("index_put", (zeros(4), [torch.tensor([1])], zeros(1)), (1, 0, ())),
        ("index_put", (zeros(4, 4), [torch.tensor([1])] * 2, zeros(1), True), (1, 0, ())),
        ("convolution", (zeros(2, 3, 8, 9), zeros(4, 3, 5, 6)), (90, 1, (1, 2, 3))),
        ("sum", (zeros(4, 5),), (20, 0, (0, 1))),
        ("sum", (zeros(4, 5), [-1]), (5, 0, (1,))),
        ("mean", (zeros(4, 5, 6), [0, 2]), (24, 0, (0, 2))),
        ("_linalg_solve_ex", (zeros(2, 5, 5), zeros(2, 5, 1)), (20, 0, (1, 2))),
        ("cumsum", (zeros(4, 5), 1), (5, 0, (1,))),
        ("cumsum", (zeros(4, 5), -2), (4, 0, (0,))),
        ("cumsum", (zeros(), 0), (1, 0, ())),
        ("index_put", (zeros(4), [torch.tensor([1])], zeros(1), False), (1, 0, ())),
        ("mul", (zeros(4), zeros(4)), (1, 0, ())),
    ],
)
def test_what_is_added_up(name, args, expected):
    assert partial_sums(name, args) == expected


def test_an_index_that_occurs_often_adds_up_often():
    indices = torch.tensor([2, 0, 2, 2])
    terms, place, axes = partial_sums("embedding_dense_backward", (zeros(4, 3), indices, 5, -1, False))
    assert (terms.flatten().tolist(), terms.dim(), place, axes) == ([3, 1, 3, 3], 2, 0, (0,))
    terms, place, axes = partial_sums("index_put", (zeros(5, 3), [indices], zeros(4, 3), True))
    assert (terms.flatten().tolist(), terms.dim(), place, axes) == ([3, 1, 3, 3], 2, 2, (0,))


def test_indices_along_several_axes():
    indices = torch.tensor([[2, 0], [2, 1]])
    terms, place, axes = partial_sums("embedding_dense_backward", (zeros(2, 2, 3), indices, 5, -1, False))
    assert (terms.tolist(), place, axes) == ([[[2], [1]], [[2], [1]]], 0, (0, 1))
    terms, place, axes = partial_sums("_index_put_impl_", (zeros(5, 3), [indices], zeros(2, 2, 3), True, False))
    assert (terms.tolist(), place, axes) == ([[[2], [1]], [[2], [1]]], 2, (0, 1))


@pytest.mark.parametrize(
    ("values", "axes"),
    [(zeros(2), (0,)), (zeros(2, 1), (0, 1)), (zeros(1, 2), (0, 1)), (zeros(), ()), (zeros(1), (0,))],
)
def test_values_that_are_spread_out_over_the_indices_are_added_up_as_often_as_any(values, axes):
    terms, place, found = partial_sums("index_put", (zeros(5), [torch.tensor([[2, 2], [2, 1]])], values, True))
    assert (terms.shape, place, found) == (values.shape, 2, axes)
    assert (terms == 3).all()
    none = torch.zeros(0, 2, dtype=torch.int64)
    assert (partial_sums("index_put", (zeros(5), [none], values, True))[0] == 1).all()


@pytest.mark.parametrize(
    ("name", "args", "sums", "means"),
    [
        ("native_layer_norm_backward", (zeros(2, 3, 5), 0, [5], 0, 0, 0, 0, [True] * 3), [(6, (0, 1))] * 2, (2,)),
        ("native_layer_norm_backward", (zeros(2, 3, 5), 0, [3, 5], 0, 0, 0, 0, [True] * 3), [(2, (0,))] * 2, (1, 2)),
        ("_fused_rms_norm_backward", (zeros(2, 3, 5), 0, [5], 0, 0, [True] * 2), [(6, (0, 1))], (2,)),
        ("native_batch_norm_backward", (zeros(2, 3, 5), 0, 0, [True] * 3), [(10, (0, 2))] * 2, (0, 2)),
        ("native_group_norm_backward", (zeros(2, 3, 5), 0, 0, [True] * 3), [(10, (0, 2))] * 2, (2,)),
    ],
)
def test_each_result_of_a_normalisation_has_its_own_sums(name, args, sums, means):
    assert sums_by_result(name, args) == [(1, ()), *sums]
    assert centred_axes(name, args) == means


def test_each_result_of_a_convolution_has_its_own_sums():
    args = (zeros(2, 4, 6, 7), zeros(2, 3, 8, 9), zeros(4, 3, 3, 3), [0], [True] * 3)
    assert sums_by_result("convolution_backward", args) == [(36, (1,)), (84, (0, 2, 3)), (84, (0, 2, 3))]
    assert centred_axes("convolution_backward", args) == ()
    assert sums_by_result("mul", args) == []
    single = (zeros(2, 4, 6, 7), zeros(2, 4, 8, 9), zeros(4, 1, 3, 3), [0], [True] * 3)
    assert sums_by_result("convolution_backward", single)[0] == (36, (1,))
    none = (zeros(2, 4, 6, 7), zeros(2, 0, 8, 9), zeros(4, 0, 3, 3), [0], [True] * 3)
    assert sums_by_result("convolution_backward", none)[0] == (0, (1,))


def test_the_axes_of_a_sum():
    assert summed_axes((zeros(4, 5),)) == [0, 1]
    assert summed_axes((zeros(4, 5), None)) == [0, 1]
    assert summed_axes((zeros(4, 5), [-2])) == [0]
    assert summed_axes((zeros(), [0])) == [0]
    assert summed_axes((zeros(), [-1])) == [0]
    assert summed_axes((zeros(4), [-1])) == [0]
