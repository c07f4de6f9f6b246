"""Inputs that alone require a gradient: what is asked, and each finding."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch_reference.checker.functions.probes.calls import called  # noqa: E402 (needs torch)
from torch_reference.checker.functions.probes.needed import needed  # noqa: E402
from torch_reference.checker.functions.probes.trial import Trial  # noqa: E402

ONES = torch.ones(3)


def found(backward, *names):
    """Return what is found of the sum of some inputs, with another backward pass, and how often that was asked."""
    asked = []

    class Total(torch.autograd.Function):
        @staticmethod
        def forward(_, *inputs):
            return sum(inputs)

        @staticmethod
        def backward(ctx, grad):
            asked.append(ctx.needs_input_grad)
            return backward(grad, ctx.needs_input_grad)

    inputs = dict.fromkeys(names, ONES)
    answer = called(Total.apply, inputs, {"output": ONES}, names, 0)
    asked.clear()
    trial = Trial(Total.apply, inputs, {"output": ONES}, names, 0, answer, lambda name: np.zeros(3))
    return needed(trial), asked


def test_each_input_is_asked_for_by_itself_where_there_are_several():
    assert found(lambda grad, needs: (grad, grad), "x", "w") == ({}, [(True, False), (False, True)])
    assert found(lambda grad, needs: grad, "x") == ({}, [])


def test_each_finding_has_its_words():
    def backward(grad, needs):
        if needs == (True, False, False):
            raise ArithmeticError("no w")
        if all(needs):
            return grad, grad, grad
        return grad, None, 2 * grad

    assert found(backward, "x", "w", "b")[0] == {
        "x": "If only x requires a gradient: ArithmeticError: no w",
        "w": "It is None if only w requires a gradient.",
        "b": "It is another one if only b requires a gradient.",
    }


def test_no_gradient_and_one_of_zeros_are_the_same():
    nothing, asked = found(lambda grad, needs: (None, 0 * grad if all(needs) else None), "x", "w")
    assert nothing == {}
    assert asked == [(False, True)]  # of x there is none, whoever asks
