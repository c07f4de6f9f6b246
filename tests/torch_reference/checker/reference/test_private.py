"""What PyTorch does not promise: the operators that the check knows by name exist, and may be taken apart."""

from functools import partial

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch_reference import crosscheck  # noqa: E402
from torch_reference.checker.reference import operations, reading  # noqa: E402 (needs torch)
from torch_reference.checker.reference.private import (  # noqa: E402
    arguments_of,
    decomposition,
    name_of,
    overload_of,
    pure,
    returns_of,
)

drawn = partial(torch.rand, generator=torch.Generator().manual_seed(0))
NAMES = {
    name
    for module in (operations, reading)
    for table, names in vars(module).items()
    if table.isupper() and isinstance(names, set | dict)
    for name in names
}


def test_every_operator_that_is_named_exists():
    assert [name for name in sorted(NAMES) if not hasattr(torch.ops.aten, name)] == []


def test_every_fused_operator_can_be_taken_apart():
    whole = [
        name
        for name in sorted(operations.FUSED)
        if not any(decomposition(getattr(getattr(torch.ops.aten, name), each))
                   for each in getattr(torch.ops.aten, name).overloads())
    ]  # fmt: skip
    assert whole == []


def test_operators_tell_their_name_and_what_they_write_to():
    aten = torch.ops.aten
    assert name_of(aten.mm.default) == "mm"
    assert returns_of(aten.mm.default) == [None]
    assert returns_of(aten.relu_.default)[0].is_write
    assert not returns_of(aten.t.default)[0].is_write


@pytest.mark.slow  # the compiler takes seconds to load
def test_a_compiled_reference_is_run_as_it_is_written(rng):
    @partial(torch.compile, fullgraph=True)
    def reference(x, w):
        return torch.relu(x @ w).sum()

    inputs = {"x": rng.normal(size=(4, 3)), "w": rng.normal(size=(3, 5))}
    assert crosscheck(lambda x, w: {"w": x.T @ (x @ w > 0)}, reference, inputs).ok
    found = crosscheck(lambda x, w: {"w": x.T @ np.ones((4, 5))}, reference, inputs).gradients["w"]
    assert "relu in line" in found.message
    assert "left out" in found.message


@pytest.mark.parametrize(
    ("operator", "arguments"),
    [
        (torch.ops.aten.var_mean.correction, ([0, 2],)),
        (torch.ops.aten.native_layer_norm.default, ([4, 5], drawn(4, 5), drawn(4, 5), 1e-3)),
        (torch.ops.aten.native_layer_norm.default, ([5], None, None, 1e-3)),
        (torch.ops.aten._softmax.default, (1, False)),
        (torch.ops.aten._log_softmax.default, (-1, False)),
        (torch.ops.aten._softmax_backward_data.default, (drawn(3, 4, 5), 1, torch.float64)),
        (torch.ops.aten._log_softmax_backward_data.default, (drawn(3, 4, 5), 1, torch.float64)),
    ],
    ids=lambda value: None if isinstance(value, tuple) else str(value),
)
def test_our_own_steps_give_what_the_operator_gives(operator, arguments):
    x = torch.randn(3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    arguments = [each.double() if isinstance(each, torch.Tensor) else each for each in arguments]
    steps, whole = decomposition(operator)(x, *arguments), operator(x, *arguments)
    torch.testing.assert_close(steps, whole)


@pytest.mark.parametrize("dim", [None, [0], [0, 2], [-1]])
@pytest.mark.parametrize("options", [{}, {"correction": 0}, {"correction": 2.5}, {"keepdim": True}])
def test_variances_of_any_axes_and_corrections(dim, options):
    operator = torch.ops.aten.var_mean.correction
    x = torch.randn(3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(decomposition(operator)(x, dim, **options), operator(x, dim, **options))


def test_variances_of_too_few_entries():
    operator = torch.ops.aten.var_mean.correction
    for x, options in ((torch.ones(2, 1), {}), (torch.ones(2, 2), {"correction": 3}), (torch.ones(0, 2), {})):
        steps, whole = (each(x, [1], **options) for each in (decomposition(operator), operator))
        torch.testing.assert_close(steps, whole, equal_nan=True)


@pytest.mark.parametrize("operator", [torch.ops.aten._softmax.default, torch.ops.aten._log_softmax.default])
def test_softmax_of_large_numbers_and_of_none(operator):
    for x in (torch.tensor([[1000.0, 1001.0, -1000.0]]), torch.ones(0, 3), torch.ones(3, 0)):
        torch.testing.assert_close(decomposition(operator)(x, 1, False), operator(x, 1, False))


def test_operators_tell_their_overloads_their_arguments_and_what_they_compute_in_place():
    aten = torch.ops.aten
    assert overload_of(aten.var.correction) == "var.correction"
    assert arguments_of(aten.mm.default) == ["self", "mat2"]
    assert pure(aten.relu_.default) is aten.relu.default
    assert pure(aten.add_.Tensor) is aten.add.Tensor
    assert pure(aten.add.Tensor) is aten.add.Tensor
