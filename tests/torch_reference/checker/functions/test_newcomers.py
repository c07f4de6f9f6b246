"""Functions as people write them at first: a right verdict or one line, never a traceback from inside."""

import pytest

torch = pytest.importorskip("torch")
from kernels.common import kernel, normal  # noqa: E402 (needs torch)

from torch_reference import crosscheck_function  # noqa: E402


def draw(*shape, seed=0):
    return normal(torch.Generator().manual_seed(seed), *shape, dtype=torch.float32)


def doubled_in_place():
    def forward(ctx, x):
        ctx.mark_dirty(x)
        return x.mul_(2)

    return kernel(forward, lambda ctx, upstream: 2 * upstream)


RIGHT = {
    "in place on a copy": (lambda x: doubled_in_place()(x.clone()), lambda x: 2 * x, [draw(4, 3)]),
    "a view": (lambda x: x.view(-1), lambda x: x.reshape(-1), [draw(4, 3)]),
    "a transposed view": (lambda x: x.t(), lambda x: x.t(), [draw(4, 3)]),
    "the input itself": (lambda x: x, lambda x: x, [draw(4, 3)]),
    "an expanded output": (lambda x: x.expand(5, 3), lambda x: x.expand(5, 3), [draw(1, 3)]),
    "no rows": (lambda x, w: x @ w, torch.matmul, [draw(0, 3), draw(3, 2)]),
    "an empty sum": (lambda x, w: x @ w, torch.matmul, [draw(2, 0), draw(0, 2)]),
    "numbers, words and lists": (
        lambda x, n, word, flag, nothing, many: x * n * len(many),
        lambda x, n, word, flag, nothing, many: n * len(many) * x,
        [draw(5), 3, "word", True, None, [1, 2]],
    ),
    "an output that is None": (lambda x: (2 * x, None), lambda x: (2 * x, None), [draw(5)]),
    "an output without gradient": (lambda x: (2 * x, (3 * x).detach()), lambda x: (2 * x, 3 * x), [draw(5)]),
    "two views of one tensor": (lambda a, b: a * b, lambda a, b: b * a, [*draw(4, 3).split(2)]),
    "an expanded input": (lambda x: 2 * x, lambda x: x + x, [draw(3).expand(4, 3)]),
    "an input with a history": (lambda x: 2 * x, lambda x: x + x, [draw(3).requires_grad_() * 1]),
}


@pytest.mark.parametrize(("function", "reference", "values"), RIGHT.values(), ids=RIGHT)
def test_right_functions_match(function, reference, values):
    inputs = {f"x{number}": value for number, value in enumerate(values)}
    assert {each.code for each in crosscheck_function(function, reference, inputs).gradients.values()} == {"match"}


def test_one_tensor_may_be_two_inputs():
    x = draw(4, 3)
    assert crosscheck_function(lambda a, b: a * b, torch.mul, {"a": x, "b": x}).ok


@pytest.mark.parametrize(
    ("function", "inputs", "error", "words"),
    [
        (doubled_in_place(), {"x": draw(3)}, ValueError, r"in place.*x.clone\(\)"),
        (lambda x: x.argmax(), {"x": draw(3)}, ValueError, "no real floating output"),
        (lambda x: x + 0j, {"x": draw(3)}, ValueError, "complex64: there is no real"),
        (lambda x: {"y": x}, {"x": draw(3)}, TypeError, "not dict"),
        (lambda x: x, [draw(3)], TypeError, "a dict of names and tensors, not list"),
        (lambda x: x, {"x": draw(3, 3).to_sparse()}, TypeError, "only dense tensors"),
    ],
    ids=["in place", "whole numbers", "complex", "dict", "list of inputs", "sparse"],
)
def test_what_cannot_be_checked_is_refused_in_one_line(function, inputs, error, words):
    with pytest.raises(error, match=words) as caught:
        crosscheck_function(function, lambda x: 2 * x, inputs)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("x", [[1.0, float("nan")], [1.0, 0.0]])
def test_where_the_reference_is_not_finite_nobody_is_accused_of_anything_else(x):
    report = crosscheck_function(torch.log, torch.log, {"x": torch.tensor(x)})
    assert {each.code for each in report.gradients.values()} == {"reference"}


def test_a_gradient_of_the_gradient_that_was_cut_off_is_missing():
    def forward(ctx, x):
        ctx.x = x.detach()
        return x * x

    cut = kernel(forward, lambda ctx, upstream: 2 * ctx.x * upstream)
    report = crosscheck_function(cut, lambda x: x * x, {"x": draw(4)}, order=2)
    assert report.gradients["x"].ok
    assert report.gradients["order2.x"].code == "missing"


def test_programs_that_overwrite_what_they_should_add_up():
    def forward(ctx, x, weight):
        ctx.save_for_backward(x, weight)
        return x * weight

    def backward(ctx, upstream):
        x, weight = ctx.saved_tensors
        return upstream * weight, (upstream * x)[-1]

    inputs = {"x": draw(6, 10), "weight": draw(10, seed=1)}
    found = crosscheck_function(kernel(forward, backward), torch.mul, inputs).gradients["weight"]
    assert (found.code, "at 0, 1, 2, 3, 4: right" in found.message) == ("upstream", True)
