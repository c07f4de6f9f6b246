"""Mistakes in the derivative of one operation, and the table of all of them: likely ones first."""

from collections.abc import Callable

import torch
from torch import Tensor

from torch_reference.checker.derivations.change import value
from torch_reference.checker.derivations.kinds.catalogue import logistic, normalization, selections, softmax
from torch_reference.checker.derivations.kinds.catalogue.names import ELEMENTWISE
from torch_reference.checker.derivations.site import single_reader
from torch_reference.checker.tape.replay import Local, first

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
    result = value(local)
    return local.vjp(grad, at={k: result})[k] if result.shape == local.operands[k].shape else None


def upstream_transposed(local: Local, grad: Tensor, k: int) -> Tensor | None:
    """The gradient of its result is transposed."""
    return local.vjp(grad.mT)[k] if grad.dim() > 1 and grad.shape[-1] == grad.shape[-2] else None


def factor_too_late(local: Local, grad: Tensor, k: int) -> Tensor | None:
    """The factor that its result is multiplied by multiplies what its derivative gives, not what that is applied to."""
    reader = single_reader(local.replay, local.step.outputs[0])
    grads = local.replay.upstream.get(reader.outputs[0]) if reader and reader.name == "mul" else None
    others = [number for number in reader.inputs if number != local.step.outputs[0]] if reader else []
    if grads is None or not others or grads.shape != grad.shape:
        return None
    return _summed(local.vjp(grads)[k] * local.replay.values[others[0]].detach(), local.operands[k].shape)


def forwards_again(local: Local, grad: Tensor, k: int) -> Tensor | None:
    """The gradient goes through the operation itself, the same way as forwards."""
    alone = len(local.operands) == 1 and grad.shape == local.operands[k].shape
    return first(local.compute(grad)) if alone else None


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
    factor_too_late,
    selections.overwritten,
    selections.averaged,
    selections.windows_overwritten,
    selections.mask_reversed,
    selections.shared_evenly,
    selections.copied,
    selections.clipped,
    selections.signs_alone,
    *logistic.SLOPES,
    *normalization.SLOPES,
    softmax.sum_not_weighted,
    softmax.weighted_too_late,
    softmax.factor_of_the_sum_left_out,
    selections.divided,
    selections.whole_at_ties,
    forwards_again,
)
