"""What autograd says, evaluated without leaving a trace."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch_reference.checker.formats import FLOAT32  # noqa: E402 (needs torch)
from torch_reference.checker.reference.evaluation import Reference  # noqa: E402 (needs torch)


def test_inputs_of_lower_precision_are_lifted_and_unused_ones_have_gradient_zero(rng):
    inputs = {"x": rng.normal(size=3).astype(np.float32), "unused": np.ones((2, 2)), "n": np.arange(3)}
    autograd = Reference(lambda x, unused, n: (x * x * n).sum(), inputs, ("x", "unused"))
    gradients = autograd.gradients()
    np.testing.assert_array_equal(gradients["x"], 2.0 * inputs["x"].astype(float) * inputs["n"])
    np.testing.assert_array_equal(gradients["unused"], np.zeros((2, 2)))
    assert autograd.coarsest is FLOAT32
    assert autograd.native().gradients()["x"].dtype == np.float64


def test_python_numbers_do_not_count_as_float64(rng):
    inputs = {"x": rng.normal(size=3).astype(np.float32), "a": 0.5}
    autograd = Reference(lambda x, a: a * x.sum(), inputs, ("x", "a"))
    assert autograd.coarsest is FLOAT32
    assert autograd.gradients()["a"].shape == ()


def test_a_loss_with_dropout_is_the_same_every_time(rng):
    inputs = {"x": rng.normal(size=100)}
    autograd = Reference(lambda x: torch.nn.functional.dropout(x).sum(), inputs, ("x",), 5)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first, second = autograd.gradients()["x"], autograd.gradients()["x"]
    np.testing.assert_array_equal(first, second)
    assert 0 < np.count_nonzero(first) < 100
    assert torch.equal(torch.get_rng_state(), state)


def test_tensors_that_the_loss_creates_have_the_precision_of_the_evaluation(rng):
    inputs = {"x": rng.normal(size=3).astype(np.float32)}
    seen = []

    def reference(x):
        seen.append(torch.zeros(3).dtype)
        return (x + torch.zeros(3)).sum()

    Reference(reference, inputs, ("x",)).gradients()
    assert seen == [torch.float64]
    assert torch.get_default_dtype() == torch.float32


def test_inputs_nearer_to_the_loss_have_less_depth(rng):
    inputs = {"first": rng.normal(size=(3, 3)), "second": rng.normal(size=(3, 3)), "third": np.array(2.0)}
    autograd = Reference(lambda first, second, third: third * (second @ first.tanh()).sum(), inputs, tuple(inputs))
    depths = autograd.depths()
    assert depths["third"] < depths["second"] < depths["first"]


def test_the_caller_s_arrays_stay_as_they_are(rng):
    x = rng.normal(size=4)
    before = x.copy()
    Reference(lambda x: (x.detach().mul_(2) * x).sum(), {"x": x}, ("x",)).gradients()
    np.testing.assert_array_equal(x, before)


def test_gradients_of_two_inputs_do_not_share_memory():
    inputs = {"x": np.arange(6.0).reshape(2, 3), "y": np.ones((2, 3))}
    found = Reference(lambda x, y: (x + y).square().sum() + x.sum(), inputs, ("x", "y")).gradients()
    assert not np.shares_memory(found["x"], found["y"])
    added = Reference(lambda x, y: (x + y).sum(), inputs, ("x", "y")).gradients()
    added["x"] *= 2  # in place, as the check does
    np.testing.assert_array_equal(added["y"], 1)
