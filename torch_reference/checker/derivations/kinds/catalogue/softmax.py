"""Mistakes in the derivative of softmax, alone or inside cross-entropy."""

from torch import Tensor

from torch_reference.checker.derivations.change import value
from torch_reference.checker.derivations.kinds.catalogue.names import SOFTMAX, dim
from torch_reference.checker.tape.replay import Local

WEIGHTS = SOFTMAX - {"_log_softmax"}


def diagonal(local: Local, grad: Tensor, k: int) -> Tensor | None:
    """Of its derivative only the diagonal p * (1 - p) is used: how an entry acts on others of its row is left out."""
    if local.step.name not in SOFTMAX:
        return None
    p = _probabilities(local)
    return grad * (1 - p) if local.step.name == "_log_softmax" else grad * p * (1 - p)


def softmax_again(local: Local, grad: Tensor, k: int) -> Tensor | None:
    """Softmax's derivative is applied once more, though the gradient holds it already."""
    if local.step.name not in SOFTMAX:
        return None
    p, passed = _probabilities(local), _right(local, grad, k)
    return p * (passed - (p * passed).sum(dim(local), keepdim=True))


def diagonal_again(local: Local, grad: Tensor, k: int) -> Tensor | None:
    """The gradient is multiplied by p * (1 - p), though it holds softmax's derivative already."""
    p = _probabilities(local) if local.step.name in SOFTMAX else None
    return None if p is None else _right(local, grad, k) * p * (1 - p)


def row_sum_left_out(local: Local, grad: Tensor, k: int) -> Tensor | None:
    """Of its derivative p * (g - sum(p * g)) the sum over the row is left out."""
    return grad * value(local) if local.step.name in WEIGHTS else None


def sum_along_the_other_axis(local: Local, grad: Tensor, k: int) -> Tensor | None:
    """Of its derivative p * (g - sum(p * g)) the sum is taken along the other axis."""
    if local.step.name not in WEIGHTS or grad.dim() < 2:
        return None
    p, last = value(local), grad.dim() - 1
    return p * (grad - (p * grad).sum(last - 1 if dim(local) == last else last, keepdim=True))


def probabilities_left_out(local: Local, grad: Tensor, k: int) -> Tensor | None:
    """Of its derivative p * (g - sum(p * g)) the factor p is left out."""
    if local.step.name not in WEIGHTS:
        return None
    return grad - (value(local) * grad).sum(dim(local), keepdim=True)


def sum_not_weighted(local: Local, grad: Tensor, k: int) -> Tensor | None:
    """Of its derivative p * (g - sum(p * g)) the sum is taken of g, not of p * g."""
    if local.step.name not in WEIGHTS:
        return None
    return value(local) * (grad - grad.sum(dim(local), keepdim=True))


def weighted_too_late(local: Local, grad: Tensor, k: int) -> Tensor | None:
    """Of its derivative p * (g - sum(p * g)) the sum is taken before it is weighed: p * sum(g) stands in its place."""
    if local.step.name not in WEIGHTS:
        return None
    p = value(local)
    return p * (grad - p * grad.sum(dim(local), keepdim=True))


def factor_of_the_sum_left_out(local: Local, grad: Tensor, k: int) -> Tensor | None:
    """Of its derivative p * g - p * sum(p * g) the factor p of the sum is left out."""
    if local.step.name not in WEIGHTS:
        return None
    weighted = value(local) * grad
    return weighted - weighted.sum(dim(local), keepdim=True)


def label_left_out(local: Local, grad: Tensor, k: int) -> Tensor | None:
    """Of its derivative, p minus the label, the label is left out."""
    return _right(local, grad, k) - grad if local.step.name == "_log_softmax" else None


def powers_for_probabilities(local: Local, grad: Tensor, k: int) -> Tensor | None:
    """exp(x) stands where softmax(x) belongs: the division by the row's sum is left out."""
    if local.step.name != "_log_softmax":
        return None
    return grad - local.operands[k].exp() * grad.sum(dim(local), keepdim=True)


def logits_for_probabilities(local: Local, grad: Tensor, k: int) -> Tensor | None:
    """Its input stands where softmax of it belongs."""
    if local.step.name != "_log_softmax":
        return None
    return grad - local.operands[k] * grad.sum(dim(local), keepdim=True)


def _probabilities(local: Local) -> Tensor:
    return value(local).exp() if local.step.name == "_log_softmax" else value(local)


def _right(local: Local, grad: Tensor, k: int) -> Tensor:
    return local.vjp(grad)[k]
