"""What a backward pass makes of its upstream gradients: each way of not following them has its words."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch_reference.checker.functions.probes.calls import called, named  # noqa: E402 (needs torch)
from torch_reference.checker.functions.probes.trial import Trial  # noqa: E402
from torch_reference.checker.functions.probes.upstream import upstream  # noqa: E402

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
