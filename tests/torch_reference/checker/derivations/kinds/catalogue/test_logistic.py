"""The mistakes in the derivative of binary cross-entropy by the logits, written with p and t."""

from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
from replays import drawn  # noqa: E402 (needs torch)

from torch_reference.checker.derivations.kinds.catalogue import logistic  # noqa: E402

X, G = drawn(3, 4), drawn(3, 4, seed=1)
P, T = X.sigmoid(), drawn(3, 4, seed=2).sigmoid()


def local(name="binary_cross_entropy", operands=(X, T)):
    return SimpleNamespace(step=SimpleNamespace(name=name), operands=list(operands))


@pytest.mark.parametrize(
    ("mistake", "slope"),
    [
        (logistic.derivative_again, (P - T) * P * (1 - P)),
        (logistic.derivative_left_out, (P - T) / (P * (1 - P))),
        (logistic.twice, P.sigmoid() - T),
        (logistic.only_positive, T * (P - 1)),
        (logistic.only_negative, (1 - T) * P),
        (logistic.second_term_negative, T * (P - 1) - (1 - T) * P),
        (logistic.target_left_out, P),
    ],
)
def test_a_mistake_is_what_its_words_say(mistake, slope):
    torch.testing.assert_close(mistake(local(), G, 0), G * slope, rtol=1e-12, atol=1e-14)
    for other in (mistake(local(), G, 1), mistake(local("mse_loss"), G, 0), mistake(local(operands=(X, T, T)), G, 0)):
        assert other is None
    assert mistake in logistic.SLOPES


def test_the_right_derivative_is_none_of_them():
    x = X.clone().requires_grad_()
    (right,) = torch.autograd.grad(torch.nn.functional.binary_cross_entropy_with_logits(x, T, reduction="none"), x, G)
    torch.testing.assert_close(right, G * (P - T), rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(right, G * (T * (P - 1) + (1 - T) * P), rtol=1e-12, atol=1e-14)
    assert not any(torch.allclose(mistake(local(), G, 0), right) for mistake in logistic.SLOPES)
