"""Forms and functions under their names, and the axis of an operation."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from replays import drawn, local_of  # noqa: E402 (needs torch)

from torch_reference.checker.derivations.kinds.catalogue.names import ACTIVATIONS, FORMS, dim  # noqa: E402

X = drawn(20)


@pytest.mark.parametrize("form", FORMS)
def test_a_form_is_what_it_says(form):
    expected = eval(form.replace("{}", "x"), {"x": X.numpy(), "sign": np.sign, "exp": np.exp})
    np.testing.assert_allclose(FORMS[form](X).numpy(), expected, rtol=1e-14)


def test_approximations_of_gelu():
    exact = ACTIVATIONS["gelu"](X)
    for kind, error in (("tanh", 1e-3), ("sigmoid", 0.025)):
        approximate = ACTIVATIONS[f"gelu with the {kind} approximation"](X)
        assert 0 < (approximate - exact).abs().max() < error
    expected = X / (1 + torch.exp(-1.702 * X))
    torch.testing.assert_close(ACTIVATIONS["gelu with the sigmoid approximation"](X), expected, rtol=1e-13, atol=0)


@pytest.mark.parametrize(
    ("name", "reference", "axis"),
    [
        ("_softmax", lambda x: torch.softmax(x, 1), 1),
        ("_softmax", lambda x: torch.softmax(x, -2), 0),
        ("sum", lambda x: x.sum(-1), 1),
        ("sum", lambda x: x.sum((0, 1)), 0),
    ],
)
def test_the_axis_of_an_operation(name, reference, axis):
    assert dim(local_of(name, lambda x: reference(x).amax(), x=drawn(3, 4))) == axis
