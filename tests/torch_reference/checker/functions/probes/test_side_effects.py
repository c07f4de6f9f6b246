"""What a call leaves behind, where PyTorch itself does not see it: kernels write past its counters."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch_reference import crosscheck_function  # noqa: E402 (needs torch)
from torch_reference.checker.functions.probes.calls import called, named  # noqa: E402
from torch_reference.checker.functions.probes.side_effects import side_effects  # noqa: E402
from torch_reference.checker.functions.probes.trial import Trial  # noqa: E402


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_saved_tensor_that_is_scaled_unseen(dtype):
    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(2 * x)
            return x * x

        @staticmethod
        def backward(ctx, g):
            (slope,) = ctx.saved_tensors
            slope.data.mul_(g)
            return slope

    x = torch.linspace(-1, 2, 6).to(dtype)
    found = crosscheck_function(Square.apply, torch.square, {"x": x}).gradients["x"]
    assert (found.code, "A second backward pass of the same call" in found.message) == ("side-effect", True)


X = torch.linspace(-1, 2, 6)


def trial(function, upstream=None):
    arriving = upstream or {name: torch.full_like(value, 3.0) for name, value in named(function(X)).items()}
    answer = called(function, {"x": X}, arriving, ("x",), 0)
    return Trial(function, {"x": X}, arriving, ("x",), 0, answer, lambda name: np.zeros(6))


def made(backward, saved=lambda x: 2 * x):
    """Return the square, with another backward pass, which gets what was saved and the upstream gradient."""

    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(saved(x))
            return x * x

        @staticmethod
        def backward(ctx, grad):
            return backward(ctx.saved_tensors[0], grad)

    return Square.apply


def test_what_leaves_nothing_behind():
    assert side_effects(trial(torch.square)) == {}
    assert side_effects(trial(made(lambda slope, grad: slope * grad))) == {}
    assert side_effects(trial(lambda x: (x * x, (2 * x).detach()))) == {}
    assert side_effects(trial(lambda x: x.detach() * 2)) == {}


def test_what_was_written_into_is_named():
    at = trial(torch.square)
    found = side_effects(replace(at, answer=replace(at.answer, changed=("x", "output"))))
    assert found == dict.fromkeys(["output", "x"], "The function writes into x, output.")


def test_another_output_of_the_second_call():
    calls = []

    def counts(x):
        calls.append(x)
        return x * len(calls)

    words = "A second call with the same inputs returns another output."
    assert side_effects(trial(counts)) == dict.fromkeys(["output", "x"], words)


def test_what_is_kept_from_another_call():
    kept = {}

    def forward(x):
        kept["slope"] = 2 * x
        return x

    words = "Wrong if another call comes between the forward and the backward pass: it keeps what is not its own."
    assert side_effects(trial(made(lambda _, grad: kept["slope"] * grad, forward))) == {"x": words}


def test_another_gradient_of_the_second_call():
    calls = []

    def counts(slope, grad):
        calls.append(grad)
        return slope * grad * len(calls)

    words = "A second call with the same inputs gives another gradient: it keeps or draws something."
    assert side_effects(trial(made(counts))) == {"x": words}


def test_an_error_of_the_second_call():
    calls = []

    def fails(slope, grad):
        calls.append(grad)
        if len(calls) == 2:
            raise ArithmeticError("once only")
        return slope * grad

    assert side_effects(trial(made(fails))) == {"x": "A second call raises ArithmeticError: once only"}


def test_a_second_backward_pass():
    def refuses(slope, grad):
        if slope.isnan().any():
            raise ArithmeticError("once only")
        result = slope * grad
        slope.data.fill_(torch.nan)
        return result

    assert side_effects(trial(made(refuses))) == {}  # it says so, and gives no wrong numbers
    words = "A second backward pass of the same call {}: the first has changed what was saved."
    unseen = side_effects(trial(made(lambda slope, grad: slope.data.mul_(grad).clone())))
    assert unseen == {"x": words.format("gives another gradient")}
    seen = side_effects(trial(made(lambda slope, grad: slope.mul_(grad).clone())))
    assert seen == {"x": words.format("raises an error")}


def test_a_gradient_that_takes_the_place_of_the_one_that_is_there():
    def function(x):
        def replaces(grad):
            x.grad = None
            return grad

        y = x * x
        if y.requires_grad and x.is_leaf:
            x.register_hook(replaces)
        return y

    assert side_effects(trial(function)) == {"x": "It is not added to the gradient that the input has already."}
