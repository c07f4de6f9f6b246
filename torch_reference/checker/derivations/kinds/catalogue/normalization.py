"""Mistakes in a * (g - mean(g) - y * mean(g * y)), the derivative of a normalisation with inverse deviation a."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from torch_reference.checker.derivations.change import value
from torch_reference.checker.derivations.functions import Normalize
from torch_reference.checker.tape.replay import Local

FORMULA = "a * (g - mean(g) - y * mean(g * y)), with the inverse deviation a and the result y,"
Terms = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, float], Tensor]

# Of a, g, the mean of g, y, the mean of g * y, and the number of entries that a mean is taken over. What becomes of one
# mean alone is the way through it, counted otherwise.
TERMS: dict[str, Terms] = {
    "sums stand where both means belong": lambda a, g, m, y, c, n: a * (g - n * m - y * n * c),
    "mean(g * y) is not multiplied by y": lambda a, g, m, y, c, n: a * (g - m - c),
    "mean(g) stands where mean(g * y) belongs": lambda a, g, m, y, c, n: a * (g - m - y * m),
    "both means have the wrong sign": lambda a, g, m, y, c, n: a * (g + m + y * c),
    "a multiplies the first term alone": lambda a, g, m, y, c, n: a * g - m - y * c,
}


def _changed(terms: Terms, local: Local, grad: Tensor, k: int) -> Tensor | None:
    function = local.step.func
    if not isinstance(function, Normalize):
        return None
    return _assembled(terms, function, function.axes, local, grad, k)


def _assembled(terms: Terms, function: Normalize, axes: tuple[int, ...], local: Local, grad: Tensor, k: int) -> Tensor:
    x, y = local.operands[k].detach(), value(local)
    mean = grad.mean(axes, keepdim=True) if function.centred else torch.zeros(())
    correlation = (grad * y).sum(axes, keepdim=True) / function.count
    number = torch.Size([x.shape[axis] for axis in axes]).numel()
    return terms(function.inverse(x), grad, mean, y, correlation, float(number))


def _right(a: Tensor, g: Tensor, m: Tensor, y: Tensor, c: Tensor, n: float) -> Tensor:
    return a * (g - m - y * c)


def along_other_axes(local: Local, grad: Tensor, k: int) -> Tensor | None:
    """Of its derivative the means are taken along the other axes."""
    function = local.step.func
    if not isinstance(function, Normalize):
        return None
    x = local.operands[k]
    axes = tuple(axis for axis in range(x.dim()) if axis not in function.axes)
    if not axes or function.count == 1:
        return None
    other = torch.Size([x.shape[axis] for axis in axes]).numel()
    own = torch.Size([x.shape[axis] for axis in function.axes]).numel()
    return _assembled(lambda a, g, m, y, c, n: _right(a, g, m, y, c * own / other, n), function, axes, local, grad, k)


def _entry(words: str, terms: Terms) -> Callable[[Local, Tensor, int], Tensor | None]:
    entry = partial(_changed, terms)
    entry.__doc__ = f"In its derivative, {FORMULA} {words}."
    return entry


SLOPES = (along_other_axes, *[_entry(words, terms) for words, terms in TERMS.items()])
