"""Mistakes in p - t, the derivative of binary cross-entropy by the logits, with p = sigmoid(logits)."""

import torch
from torch import Tensor

from torch_reference.checker.tape.replay import Local


def derivative_again(local: Local, grad: Tensor, k: int) -> Tensor | None:
    """Its derivative, p - t, is multiplied by sigmoid's p * (1 - p), which it holds already."""
    p = _probabilities(local)
    return grad * (p - local.operands[1]) * p * (1 - p) if _is_logistic(local, k) else None


def derivative_left_out(local: Local, grad: Tensor, k: int) -> Tensor | None:
    """Of its derivative, p - t, sigmoid's part p * (1 - p) is left out."""
    p = _probabilities(local)
    return grad * (p - local.operands[1]) / (p * (1 - p)) if _is_logistic(local, k) else None


def twice(local: Local, grad: Tensor, k: int) -> Tensor | None:
    """Sigmoid is applied twice in its derivative, p - t."""
    return grad * (torch.sigmoid(_probabilities(local)) - local.operands[1]) if _is_logistic(local, k) else None


def only_positive(local: Local, grad: Tensor, k: int) -> Tensor | None:
    """Of its derivative, t * (p - 1) + (1 - t) * p, the second term is left out."""
    return grad * local.operands[1] * (_probabilities(local) - 1) if _is_logistic(local, k) else None


def only_negative(local: Local, grad: Tensor, k: int) -> Tensor | None:
    """Of its derivative, t * (p - 1) + (1 - t) * p, the first term is left out."""
    return grad * (1 - local.operands[1]) * _probabilities(local) if _is_logistic(local, k) else None


def second_term_negative(local: Local, grad: Tensor, k: int) -> Tensor | None:
    """Of its derivative, t * (p - 1) + (1 - t) * p, the second term has the wrong sign."""
    p, target = _probabilities(local), local.operands[1]
    return grad * (target * (p - 1) - (1 - target) * p) if _is_logistic(local, k) else None


def target_left_out(local: Local, grad: Tensor, k: int) -> Tensor | None:
    """Of its derivative, p - t, the target is left out."""
    return grad * _probabilities(local) if _is_logistic(local, k) else None


SLOPES = (
    only_positive,
    derivative_again,
    derivative_left_out,
    twice,
    only_negative,
    second_term_negative,
    target_left_out,
)


def _probabilities(local: Local) -> Tensor:
    return torch.sigmoid(local.operands[0].detach())


def _is_logistic(local: Local, k: int) -> bool:
    return local.step.name == "binary_cross_entropy" and len(local.operands) == 2 and k == 0
