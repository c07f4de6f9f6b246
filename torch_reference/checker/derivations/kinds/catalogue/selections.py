"""Mistakes where entries are picked: indices, windows, the largest, the bound of a robust loss."""

import torch
from torch import Tensor
from torch.nn import functional

from torch_reference.checker.derivations.change import value
from torch_reference.checker.derivations.kinds.catalogue.names import LARGEST, RIVALS
from torch_reference.checker.tape.replay import Local

PICKED = frozenset({"embedding", "index", "index_select", "gather"})
ADDED = frozenset({"index_add", "scatter_add", "index_put", "scatter_reduce", "segment_reduce"})
AFFORDABLE = 2**22  # windows times entries: each window costs two backward passes


def averaged(local: Local, grad: Tensor, k: int) -> Tensor | None:
    """Where an index occurs several times its gradients are averaged, not added up."""
    if local.step.name not in PICKED:
        return None
    return local.vjp(grad)[k] / local.vjp(torch.ones_like(grad))[k].clamp(min=1)


def divided(local: Local, grad: Tensor, k: int) -> Tensor | None:
    """The gradient is divided by the number of entries that are added up, as for their mean."""
    if local.step.name not in ADDED:
        return None
    ones = [torch.full_like(operand, place == k) for place, operand in enumerate(local.operands)]
    return local.vjp(grad / local.compute(*ones).clamp(min=1))[k]


def overwritten(local: Local, grad: Tensor, k: int) -> Tensor | None:
    """Where an index occurs several times its gradients are overwritten, not added up: only the last is kept."""
    if local.step.name not in PICKED:
        return None
    numbers = torch.arange(local.operands[k].numel(), dtype=grad.dtype).reshape(local.operands[k].shape)
    origin = local.compute(*[numbers if i == k else operand for i, operand in enumerate(local.operands)])
    passed = torch.zeros(numbers.numel(), dtype=grad.dtype)
    for place, number in zip(origin.reshape(-1).to(torch.int64).tolist(), grad.reshape(-1), strict=True):
        passed[place] = number
    return passed.reshape(numbers.shape)


def windows_overwritten(local: Local, grad: Tensor, k: int) -> Tensor | None:
    """Where windows overlap their gradients are overwritten, not added up: only the last is kept."""
    if local.step.name not in {"avg_pool2d", "convolution"} or k:
        return None
    if grad[0, 0].numel() * grad.numel() > AFFORDABLE:
        return None
    passed = torch.zeros_like(local.operands[k])
    for place in range(grad[0, 0].numel()):
        one = torch.zeros_like(grad)
        one.view(*grad.shape[:2], -1)[..., place] = 1
        reached = local.vjp(one)[k] != 0
        passed = torch.where(reached, local.vjp(one * grad)[k], passed)
    return passed


def mask_reversed(local: Local, grad: Tensor, k: int) -> Tensor | None:
    """The gradient passes where the mask stops it, and is stopped where it passes."""
    right = local.vjp(grad)[k]
    masks = local.step.name in {"mul", "where", "masked_fill"} and right.shape == grad.shape
    return grad - right if masks and ((right == 0) | (right == grad)).all() else None


def shared_evenly(local: Local, grad: Tensor, k: int) -> Tensor | None:
    """The gradient is shared evenly among the entries, as for a mean, and not given to the largest alone."""
    x = local.operands[k].detach().requires_grad_()
    with torch.enable_grad():
        if local.step.name == "max_pool2d_with_indices":
            mean = functional.avg_pool2d(x, *_pool(local))
        elif local.step.name in LARGEST:
            args = local.step.arguments(local.values)
            mean = x.mean(args[1] if len(args) > 1 and args[1] != [] else None, keepdim=grad.dim() == x.dim())
        else:
            return None
    return torch.autograd.grad(mean, x, grad)[0]


def copied(local: Local, grad: Tensor, k: int) -> Tensor | None:
    """Every entry gets the whole gradient, not the largest alone."""
    shared = shared_evenly(local, grad, k)
    if shared is None:
        return None
    size = _pool(local)[0] if "pool" in local.step.name else [shared.numel() // grad.numel(), 1]
    return shared * (size[0] * size[-1])


def whole_at_ties(local: Local, grad: Tensor, k: int) -> Tensor | None:
    """Of entries that tie each gets the whole gradient, which is neither shared nor given to one of them."""
    if local.step.name not in LARGEST | RIVALS:
        return None
    x, result = local.operands[k].detach(), value(local)
    if local.step.name in RIVALS:
        return (grad * (x == result)).sum_to_size(x.shape)
    return _spread(local, grad) * (x == _spread(local, result))


def clipped(local: Local, grad: Tensor, k: int) -> Tensor | None:
    """Its derivative ({right}) is taken as 1 throughout, or as in a squared error: the bound is left out."""
    if local.step.name not in {"huber_loss", "smooth_l1_loss"}:
        return None
    rest = local.operands[k] - local.operands[1 - k]
    return grad * rest / (rest.numel() if grad.numel() == 1 else 1)


def signs_alone(local: Local, grad: Tensor, k: int) -> Tensor | None:
    """The sign of the difference stands where the difference belongs, as in an absolute error."""
    if local.step.name not in {"huber_loss", "smooth_l1_loss"}:
        return None
    rest = (local.operands[k] - local.operands[1 - k]).sign()
    return grad * rest / (rest.numel() if grad.numel() == 1 else 1)


def _spread(local: Local, reduced: Tensor) -> Tensor:
    """Return what a maximum along some axes gives, in the place of each entry that it is taken of."""
    x, args = local.operands[0], local.step.arguments(local.values)
    axes = args[1] if len(args) > 1 else []
    if reduced.dim() < x.dim():
        for axis in sorted(axis % x.dim() for axis in ([axes] if isinstance(axes, int) else axes)):
            reduced = reduced.unsqueeze(axis)
    return reduced.expand(x.shape)


def _pool(local: Local) -> tuple[list[int], list[int] | None, list[int]]:
    args = local.step.arguments(local.values)
    return args[1], args[2] if len(args) > 2 and args[2] else None, args[3] if len(args) > 3 else [0, 0]
