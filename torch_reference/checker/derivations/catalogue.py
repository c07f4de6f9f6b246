"""The mistakes in the derivative of one operation: small functions, each with the sentence that the message says.

A function gets a `Local`, the gradient of the operation's result and the number of an operand, and returns what the
wrong derivation passes on to that operand. Where it does not fit an operation it returns None, or fails as PyTorch
does. To add a mistake, write a function and put it into the table at the end: likely ones first.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from torch_reference.checker.derivations.change import value
from torch_reference.checker.tape.replay import Local

Slope = Callable[[Local, Tensor, int], Tensor | None]

SOFTMAX = frozenset({"_softmax", "_safe_softmax", "_log_softmax"})
HINGES = frozenset({"relu", "leaky_relu", "clamp", "clamp_min", "elu", "celu", "threshold", "hardtanh"})
ELEMENTWISE = HINGES | frozenset(
    "tanh sigmoid softplus exp log log1p expm1 sqrt rsqrt reciprocal abs sin cos erf special_ndtr pow square sgn "
    "hardswish hardsigmoid log_sigmoid_forward".split()
)
LARGEST = frozenset({"amax", "amin", "max", "min"})


def right(local: Local, grad: Tensor, k: int) -> Tensor:
    """Return what autograd passes on."""
    return local.vjp(grad)[k]


def left_out(local: Local, grad: Tensor, k: int) -> Tensor | None:
    """Its derivative ({right}) is left out: the gradient passes unchanged."""
    return _summed(grad, local.operands[k].shape)


def diagonal(local: Local, grad: Tensor, k: int) -> Tensor | None:
    """Of its derivative only the diagonal p * (1 - p) is used: how an entry acts on others of its row is left out."""
    if local.step.name not in SOFTMAX:
        return None
    p = _probabilities(local)
    return grad * (1 - p) if local.step.name == "_log_softmax" else grad * p * (1 - p)


def twice(local: Local, grad: Tensor, k: int) -> Tensor | None:
    """Its derivative ({right}) is applied twice."""
    return right(local, right(local, grad, k), k) if grad.shape == local.operands[k].shape else None


def value_for_derivative(local: Local, grad: Tensor, k: int) -> Tensor | None:
    """Its result stands where its derivative ({right}) belongs."""
    return grad * value(local) if local.step.name in ELEMENTWISE else None


def input_for_derivative(local: Local, grad: Tensor, k: int) -> Tensor | None:
    """Its input stands where its derivative ({right}) belongs."""
    return grad * local.operands[k] if local.step.name in ELEMENTWISE else None


def softmax_again(local: Local, grad: Tensor, k: int) -> Tensor | None:
    """Softmax's derivative is applied once more, though the gradient holds it already."""
    if local.step.name not in SOFTMAX:
        return None
    p, passed = _probabilities(local), right(local, grad, k)
    return p * (passed - (p * passed).sum(dim(local), keepdim=True))


def diagonal_again(local: Local, grad: Tensor, k: int) -> Tensor | None:
    """The gradient is multiplied by p * (1 - p), though it holds softmax's derivative already."""
    p = _probabilities(local) if local.step.name in SOFTMAX else None
    return None if p is None else right(local, grad, k) * p * (1 - p)


def row_sum_left_out(local: Local, grad: Tensor, k: int) -> Tensor | None:
    """Of its derivative p * (g - sum(p * g)) the sum over the row is left out."""
    return grad * value(local) if local.step.name in {"_softmax", "_safe_softmax"} else None


def probabilities_left_out(local: Local, grad: Tensor, k: int) -> Tensor | None:
    """Of its derivative p * (g - sum(p * g)) the factor p is left out."""
    if local.step.name not in {"_softmax", "_safe_softmax"}:
        return None
    return grad - (value(local) * grad).sum(dim(local), keepdim=True)


def only_the_label(local: Local, grad: Tensor, k: int) -> Tensor | None:
    """Of its derivative, p minus the label, only the entry of the right class is kept."""
    return right(local, grad, k) * (grad != 0) if local.step.name == "_log_softmax" else None


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


def other_side(local: Local, grad: Tensor, k: int) -> Tensor | None:
    """Its derivative ({right}) is taken at the negative of its input."""
    return local.vjp(grad, at={k: -local.operands[k]})[k]


def at_its_result(local: Local, grad: Tensor, k: int) -> Tensor | None:
    """Its derivative ({right}) is taken at its result, as if it were applied twice."""
    return local.vjp(grad, at={k: value(local)})[k]


def upstream_transposed(local: Local, grad: Tensor, k: int) -> Tensor | None:
    """The gradient of its result is transposed."""
    return local.vjp(grad.mT)[k] if grad.dim() > 1 and grad.shape[-1] == grad.shape[-2] else None


def overwritten(local: Local, grad: Tensor, k: int) -> Tensor | None:
    """Where an index occurs several times its gradients are overwritten, not added up: only the last is kept."""
    if local.step.name not in {"embedding", "index", "index_select", "gather"}:
        return None
    numbers = torch.arange(local.operands[k].numel(), dtype=grad.dtype).reshape(local.operands[k].shape)
    origin = local.compute(*[numbers if i == k else operand for i, operand in enumerate(local.operands)])
    passed = torch.zeros(numbers.numel(), dtype=grad.dtype)
    for place, number in zip(origin.reshape(-1).to(torch.int64).tolist(), grad.reshape(-1), strict=True):
        passed[place] = number
    return passed.reshape(numbers.shape)


def windows_overwritten(local: Local, grad: Tensor, k: int) -> Tensor | None:
    """Where windows overlap their gradients are overwritten, not added up: only the last is kept."""
    if local.step.name != "avg_pool2d":
        return None
    passed = torch.zeros_like(local.operands[k])
    for place in range(grad[0, 0].numel()):
        one = torch.zeros_like(grad)
        one.view(*grad.shape[:2], -1)[..., place] = 1
        reached = right(local, one, k) != 0
        passed = torch.where(reached, right(local, one * grad, k), passed)
    return passed


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


def clipped(local: Local, grad: Tensor, k: int) -> Tensor | None:
    """Its derivative ({right}) is taken as 1 throughout, or as in a squared error: the bound is left out."""
    if local.step.name not in {"huber_loss", "smooth_l1_loss"}:
        return None
    rest = local.operands[0] - local.operands[1]
    return grad * rest * (1 if k == 0 else -1) / (rest.numel() if grad.numel() == 1 else 1)


def signs_alone(local: Local, grad: Tensor, k: int) -> Tensor | None:
    """The sign of the difference stands where the difference belongs, as in an absolute error."""
    if local.step.name not in {"huber_loss", "smooth_l1_loss"}:
        return None
    rest = (local.operands[0] - local.operands[1]).sign()
    return grad * rest * (1 if k == 0 else -1) / (rest.numel() if grad.numel() == 1 else 1)


SLOPES: tuple[Slope, ...] = (
    left_out,
    diagonal,
    twice,
    value_for_derivative,
    input_for_derivative,
    at_its_result,
    other_side,
    softmax_again,
    diagonal_again,
    row_sum_left_out,
    probabilities_left_out,
    only_the_label,
    powers_for_probabilities,
    logits_for_probabilities,
    upstream_transposed,
    overwritten,
    windows_overwritten,
    shared_evenly,
    copied,
    clipped,
    signs_alone,
)


# Forms that derivatives have, as functions of an operation's result or input.
FORMS: dict[str, Callable[[Tensor], Tensor]] = {
    "{} * (1 - {})": lambda x: x * (1 - x),
    "1 - {}**2": lambda x: 1 - x * x,
    "1 - {}": lambda x: 1 - x,
    "1 + {}": lambda x: 1 + x,
    "{}**2": lambda x: x * x,
    "1 / {}": lambda x: 1 / x,
    "1 / {}**2": lambda x: 1 / (x * x),
    "sign({})": torch.sign,
    "exp({})": torch.exp,
}

# Other functions that may stand in the place of an activation, or whose derivative may.
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": torch.relu,
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "softplus": functional.softplus,
    "gelu with the tanh approximation": lambda x: functional.gelu(x, approximate="tanh"),
    "gelu with the sigmoid approximation": lambda x: x * torch.sigmoid(1.702 * x),
    "exp": torch.exp,
    "abs": torch.abs,
    "the square": torch.square,
}


def dim(local: Local) -> int:
    """Return the axis of an operation that has one, as its second argument."""
    axis = local.step.arguments(local.values)[1]
    return int(axis[0] if isinstance(axis, list) else axis) % local.operands[0].dim()


def _summed(grad: Tensor, shape: torch.Size) -> Tensor | None:
    """Return a gradient summed over what was broadcast, or None where it has another shape."""
    try:
        return grad.sum_to_size(shape) if grad.shape != shape else grad
    except RuntimeError:
        return None


def _probabilities(local: Local) -> Tensor:
    return value(local).exp() if local.step.name == "_log_softmax" else value(local)


def _pool(local: Local) -> tuple[list[int], list[int] | None, list[int]]:
    args = local.step.arguments(local.values)
    return args[1], args[2] if len(args) > 2 and args[2] else None, args[3] if len(args) > 3 else [0, 0]
