"""What the face for functions takes, in which words it refuses the rest, and what further inputs may tell."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch_reference import assert_function_matches, crosscheck_function  # noqa: E402 (needs torch)
from torch_reference.checker.functions.experiment import Experiment  # noqa: E402
from torch_reference.checker.functions.face import _check, _stressed  # noqa: E402
from torch_reference.checker.report.gradient import GradientReport  # noqa: E402

X = torch.tensor([[1.0, 2.0, 3.0]])


@pytest.mark.parametrize(
    ("inputs", "order", "error", "words"),
    [
        ([X], 1, TypeError, "inputs must be a dict of names and tensors, not list"),
        ({"output.1": X}, 1, ValueError, "an input is called 'output.1', which is what outputs are called: rename it"),
        ({"x": X.to_sparse()}, 1, TypeError, "input 'x' has the layout torch.sparse_coo: only dense tensors"),
        ({"x": X, "z": X.cfloat()}, 1, TypeError, "input 'z' has dtype torch.complex64: only real numbers"),
        ({"x": X.long(), "n": 3.0}, 1, ValueError, "none of the inputs is a floating tensor: there is nothing"),
        ({"x": X}, 0, ValueError, r"order is 0, but only gradients \(1\) and their gradients \(2\) can be checked"),
        ({"x": X}, 3, ValueError, "order is 3"),
    ],
)
def test_what_is_refused(inputs, order, error, words):
    with pytest.raises(error, match=words):
        _check(inputs, order)


def test_what_is_taken():
    for order in (1, 2):
        _check({"x": X, "outputs": X, "x.output": X.half(), "n": 3, "places": X.long(), "word": "sum"}, order)


def report(name, code="match"):
    return GradientReport(name, code, "Words.", np.ones(1), np.ones(1))


def stressed(function, reference, **given):
    """Return what further inputs change of given verdicts, which are right where they are not given."""
    verdicts = {name: report(name, given.get(name, "match")) for name in ("output", "x")}
    found = _stressed(Experiment(function, reference, {"x": X}, 0, torch.device("cpu")), False, verdicts)
    return {name: each for name, each in found.items() if each is not verdicts[name]}


def test_the_first_inputs_at_which_something_is_wrong_are_told():
    found = stressed(lambda x: x * (1 + (x > 20)), lambda x: x.clone())
    assert {name: each.ok for name, each in found.items()} == {"output": False, "x": False}
    assert all(each.message.startswith("With large x: ") for each in found.values())
    assert stressed(torch.sigmoid, torch.sigmoid) == {}


def test_what_is_wrong_already_keeps_its_words():
    assert list(stressed(lambda x: x * (1 + (x > 20)), lambda x: x.clone(), x="scale")) == ["output"]


def test_inputs_that_are_refused_or_have_no_finite_answer_tell_nothing():
    def refuses(x):
        if (x > 20).any():
            raise ValueError
        return x.clone()

    assert stressed(lambda x: x * (1 + (x > 20)), refuses) == {}
    assert stressed(refuses, lambda x: x.clone()) == {}
    # away from zero right, at zero another one than the reference's NaN
    assert stressed(lambda x: x.clamp(min=1e-30).sqrt(), lambda x: x.sqrt() * (x / x)) == {}


def test_further_inputs_are_tried_only_where_asked_for():
    def function(x):
        return x * (1 + (x > 20))

    def reference(x):
        return x.clone()

    assert crosscheck_function(function, reference, {"x": X}).ok
    assert not crosscheck_function(function, reference, {"x": X}, stress=True).ok
    assert list(crosscheck_function(function, reference, {"x": X}).gradients) == ["output", "x"]
    assert_function_matches(function, reference, {"x": X})
    with pytest.raises(AssertionError, match="With large x"):
        assert_function_matches(function, reference, {"x": X}, stress=True)


SEEN = []  # upstream gradients


class Sine(torch.autograd.Function):
    """The sine, whose backward pass forgets that it depends on its input."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x.detach())
        return torch.sin(x)

    @staticmethod
    def backward(ctx, upstream):
        SEEN.append(upstream.detach().clone())
        return upstream * ctx.saved_tensors[0].detach().cos()


@pytest.mark.parametrize("check", [crosscheck_function, assert_function_matches])
def test_what_holds_where_nothing_is_said(check):
    def first_upstream(**options):
        SEEN.clear()
        check(Sine.apply, torch.sin, {"x": X}, **options)
        return SEEN[0]

    assert torch.equal(first_upstream(), first_upstream(seed=0))
    assert not torch.equal(first_upstream(), first_upstream(seed=1))


def test_second_order_is_checked_only_where_asked_for():
    assert_function_matches(Sine.apply, torch.sin, {"x": X})
    with pytest.raises(AssertionError, match=r"order2\.x"):
        assert_function_matches(Sine.apply, torch.sin, {"x": X}, order=2)
    report = crosscheck_function(torch.sin, torch.sin, {"x": X}, order=2)
    assert list(report.gradients) == ["output", "x", "order2.x", "order2.output"]


def test_low_precision_may_round_on_the_way_unless_that_is_declined():
    def function(x):
        return torch.softmax(x * 3 + 1, 1)

    x = torch.linspace(-2, 2, 200).reshape(10, 20).bfloat16()
    assert_function_matches(function, function, {"x": x})
    with pytest.raises(AssertionError, match="rounded"):
        assert_function_matches(function, function, {"x": x}, strict=True)
