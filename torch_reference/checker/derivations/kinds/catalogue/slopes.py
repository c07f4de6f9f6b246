"""Mistakes in the derivative of one operation, and the table of all of them: likely ones first."""

from collections.abc import Callable

import torch
from torch import Tensor

from torch_reference.checker.derivations.change import value
from torch_reference.checker.derivations.kinds.catalogue import logistic, normalization, selections, softmax
from torch_reference.checker.derivations.kinds.catalogue.names import ELEMENTWISE
from torch_reference.checker.tape.replay import Local

Slope = Callable[[Local, Tensor, int], Tensor | None]


def right(local: Local, grad: Tensor, k: int) -> Tensor:
    """Return what autograd passes on."""
    return local.vjp(grad)[k]


def left_out(local: Local, grad: Tensor, k: int) -> Tensor | None:
    """Its derivative ({right}) is left out: the gradient passes unchanged."""
    return _summed(grad, local.operands[k].shape)


def twice(local: Local, grad: Tensor, k: int) -> Tensor | None:
    """Its derivative ({right}) is applied twice."""
    return right(local, right(local, grad, k), k) if grad.shape == local.operands[k].shape else None


def value_for_derivative(local: Local, grad: Tensor, k: int) -> Tensor | None:
    """Its result stands where its derivative ({right}) belongs."""
    return grad * value(local) if local.step.name in ELEMENTWISE else None


def input_for_derivative(local: Local, grad: Tensor, k: int) -> Tensor | None:
    """Its input stands where its derivative ({right}) belongs."""
    return grad * local.operands[k] if local.step.name in ELEMENTWISE else None


def other_side(local: Local, grad: Tensor, k: int) -> Tensor | None:
    """Its derivative ({right}) is taken at the negative of its input."""
    return local.vjp(grad, at={k: -local.operands[k]})[k]


def at_its_result(local: Local, grad: Tensor, k: int) -> Tensor | None:
    """Its derivative ({right}) is taken at its result, as if it were applied twice."""
    return local.vjp(grad, at={k: value(local)})[k]


def upstream_transposed(local: Local, grad: Tensor, k: int) -> Tensor | None:
    """The gradient of its result is transposed."""
    return local.vjp(grad.mT)[k] if grad.dim() > 1 and grad.shape[-1] == grad.shape[-2] else None


def _summed(grad: Tensor, shape: torch.Size) -> Tensor | None:
    """Return a gradient summed over what was broadcast, or None where it has another shape."""
    try:
        return grad.sum_to_size(shape) if grad.shape != shape else grad
    except RuntimeError:
        return None


SLOPES: tuple[Slope, ...] = (
    left_out,
    softmax.diagonal,
    twice,
    value_for_derivative,
    input_for_derivative,
    at_its_result,
    other_side,
    softmax.softmax_again,
    softmax.diagonal_again,
    softmax.row_sum_left_out,
    softmax.probabilities_left_out,
    softmax.sum_along_the_other_axis,
    softmax.label_left_out,
    softmax.powers_for_probabilities,
    softmax.logits_for_probabilities,
    upstream_transposed,
    selections.overwritten,
    selections.windows_overwritten,
    selections.shared_evenly,
    selections.copied,
    selections.clipped,
    selections.signs_alone,
    *logistic.SLOPES,
    *normalization.SLOPES,
)
