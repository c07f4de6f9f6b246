"""What a backward pass makes of its upstream gradients: each way of not following them has its words."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch_reference.checker.functions.probes.calls import called, named  # noqa: E402 (needs torch)
from torch_reference.checker.functions.probes.trial import Trial  # noqa: E402
from torch_reference.checker.functions.probes.upstream import unheard, upstream  # noqa: E402

PARTS = "The gradients for one output after the other do not add up to the gradient for all."
IGNORES = "It ignores its upstream gradient: twice of that leaves it as it is."


def plain(one, other):
    return sum(each for each in (one, other) if each is not None)


def alone(one, other):
    """Right with both, and twice of it with only one of them."""
    return plain(one, other) * (1 if one is not None and other is not None else 2)


def ignored(one, other):
    return torch.ones(4)


def found(first, second):
    """Return what is found of a function of two inputs and two outputs, with given gradients."""

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x, w):
            ctx.set_materialize_grads(False)
            return x + w, x + w + 0

        @staticmethod
        def backward(_, one, other):
            return first(one, other), second(one, other)

    inputs = {"x": torch.ones(4), "w": torch.ones(4)}
    outputs = named(Function.apply(*inputs.values()))
    arriving = {name: torch.arange(1.0, 5.0) for name in outputs}
    answer = called(Function.apply, inputs, arriving, ("x", "w"), 0)
    return upstream(Trial(Function.apply, inputs, arriving, ("x", "w"), 0, answer, lambda name: np.zeros(4)))


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (plain, plain, {}),
        (alone, plain, {"x": PARTS}),
        (plain, alone, {"w": PARTS}),
        (ignored, plain, {"x": IGNORES}),
        (ignored, alone, {"x": IGNORES, "w": PARTS}),
    ],
)
def test_the_gradients_for_all_outputs_are_the_sum_of_those_for_each(first, second, words):
    assert found(first, second) == words


def rows(shape, deaf, outputs=1):
    """Return what is told of rows of a sum's upstream gradient of which some make no difference."""

    class Deaf(torch.autograd.Function):
        @staticmethod
        def forward(_, x):
            return x + 0 if outputs == 1 else (x + 0, x + 1)

        @staticmethod
        def backward(_, grad, *__):
            heard = grad.clone()
            heard[deaf] = 0
            return heard

    x = torch.ones(shape)
    arriving = {name: torch.full(shape, 3.0) for name in named(Deaf.apply(x))}
    answer = called(Deaf.apply, {"x": x}, arriving, ("x",), 0)
    return list(unheard(Trial(Deaf.apply, {"x": x}, arriving, ("x",), 0, answer, lambda name: np.zeros(shape))))


def test_rows_that_make_no_difference_are_told():
    ((words, code, inputs, arriving),) = rows((4, 2), [1, 3])
    assert words == "Along axis 0 of the output it ignores its upstream gradient at 1, 3: right only where that is 0."
    assert (code, list(inputs)) == ("ignored", ["x"])
    assert arriving["output"].tolist() == [[3, 3], [0, 0], [3, 3], [0, 0]]


@pytest.mark.parametrize(
    ("shape", "deaf", "outputs", "told"),
    [
        ((3,), [2], 1, True),
        ((16,), [2], 1, True),
        ((17,), [2], 1, False),
        ((2,), [1], 1, False),
        ((3,), [], 1, False),
        ((3,), [0, 1, 2], 1, False),
        ((3,), [0, 1], 1, True),
        ((3,), [2], 2, False),
        ((), ..., 1, False),
    ],
)
def test_few_rows_of_one_output_are_tried_of_which_some_are_heard(shape, deaf, outputs, told):
    assert len(rows(shape, deaf, outputs)) == told
