"""The backward pass as a function, and the verdicts on its own backward pass."""

import pytest

torch = pytest.importorskip("torch")
from torch_reference.checker.functions.experiment import Experiment  # noqa: E402 (needs torch)
from torch_reference.checker.functions.second_order import _backward_of, second_order  # noqa: E402

X = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)


def both(x, power, w):
    return x**power, (x * 2).detach(), x * 2


def test_the_backward_pass_is_a_function_of_inputs_and_upstream_gradients():
    backward = _backward_of(both, ("x", "w"), ("x", "power", "w"), ("output.0", "output.2"))
    x, w = X.clone().requires_grad_(), X.clone().requires_grad_()
    upstream = torch.ones(3, dtype=torch.float64, requires_grad=True)
    found, nothing = backward(x, 3, w, upstream, 10 * upstream)
    assert found.tolist() == [3 + 20, 12 + 20, 27 + 20]
    assert nothing.tolist() == [0, 0, 0]
    second, slope = torch.autograd.grad(found.sum(), (x, upstream))
    assert second.tolist() == [6, 12, 18]
    assert slope.tolist() == [23, 32, 47]


def test_each_input_and_each_differentiable_output_has_a_second_derivative():
    experiment = Experiment(both, both, {"x": X, "power": 3, "w": X}, 0, torch.device("cpu"))
    found = second_order(experiment, False)
    assert list(found) == ["order2.x", "order2.w", "order2.output.0", "order2.output.2"]
    assert {report.code for report in found.values()} == {"match"}
    assert [report.name for report in found.values()] == list(found)
    assert found["order2.x"].reference.shape == (3,)
