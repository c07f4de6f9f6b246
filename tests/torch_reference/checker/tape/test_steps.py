"""One step by itself: its name, what it reads, and how it runs on other values."""

from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
from torch_reference.checker.reference.private import tree_flatten  # noqa: E402 (needs torch)
from torch_reference.checker.tape.steps import Place, Ref, Step  # noqa: E402

ATEN = torch.ops.aten
X, Y = torch.tensor([1.0, 2.0, 3.0], requires_grad=True), torch.tensor([4.0, 5.0, 6.0])
INDEX = torch.tensor([0, 2])
VALUES = {0: X, 1: Y, 2: INDEX}


def step(func, *args, constant=False, **keywords):
    flat, spec = tree_flatten((args, keywords))
    return Step(7, func, tuple(flat), spec, (8,), Place("", 0, "", "", 0, (0, 0, 0)), constant)


@pytest.mark.parametrize(
    ("func", "name"),
    [
        (ATEN.mm.default, "mm"),
        (torch.tanh, "tanh"),
        (SimpleNamespace(name="formula"), "formula"),
        (SimpleNamespace(), ""),
    ],
)
def test_the_name_of_an_operation_or_of_a_function(func, name):
    assert step(func).name == name


@pytest.mark.parametrize(
    ("made", "inputs", "result"),
    [
        (step(ATEN.sub.Tensor, Ref(0), Ref(1)), [0, 1], [-3.0, -3.0, -3.0]),
        (step(ATEN.sub.Tensor, Ref(0), Ref(1), alpha=2), [0, 1], [-7.0, -8.0, -9.0]),
        (step(ATEN.clamp.default, Ref(0), max=2.0), [0], [1.0, 2.0, 2.0]),
        (step(ATEN.cat.default, [Ref(1), Ref(0)]), [1, 0], [4.0, 5.0, 6.0, 1.0, 2.0, 3.0]),
        (step(ATEN.index_select.default, Ref(0), 0, Ref(2)), [0, 2], [1.0, 3.0]),
    ],
)
def test_it_runs_on_the_values_that_it_reads(made, inputs, result):
    assert made.inputs == inputs
    found = made.run(VALUES)
    assert found.tolist() == result
    assert found.requires_grad


def test_operands_take_the_places_of_floating_values():
    selected = step(ATEN.index_select.default, Ref(0), 0, Ref(2))
    assert selected.run(VALUES, [2 * Y]).tolist() == [8, 12]
    joined = step(ATEN.cat.default, [Ref(1), Ref(0)])
    assert joined.run(VALUES, [Y[:1], Y[1:2]]).tolist() == [4, 5]


def test_what_ran_without_a_gradient_has_none():
    made = step(ATEN.sub.Tensor, Ref(0), Ref(1), constant=True)
    assert not made.run(VALUES).requires_grad
    assert made.run(VALUES).tolist() == [-3, -3, -3]


def test_positional_arguments():
    assert step(ATEN.sub.Tensor, Ref(0), Ref(1), alpha=2).arguments(VALUES) == (X, Y)
    assert step(ATEN.select.int, Ref(0), 0, -1).arguments(VALUES) == (X, 0, -1)
    assert step(ATEN.cat.default, [Ref(1), Ref(0)], 0).arguments(VALUES) == ([Y, X], 0)
