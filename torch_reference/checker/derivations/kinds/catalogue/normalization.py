"""Mistakes of normalisations: in their statistics, and in a * (g - mean(g) - y * mean(g * y)), their derivative."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor

from torch_reference.checker.derivations.change import value
from torch_reference.checker.derivations.functions import Normalize
from torch_reference.checker.tape.replay import Local

FORMULA = "a * (g - mean(g) - y * mean(g * y)), with the inverse deviation a and the result y,"
Statistics = tuple[Tensor, Tensor]
Terms = Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, float], Tensor]

# Of a, g, the mean of g, y, the mean of g * y, and the number of entries that a mean is taken over. What becomes of one
# mean alone is the way through it, counted otherwise.
TERMS: dict[str, Terms] = {
    "mean(g * y) is not multiplied by y": lambda a, g, m, y, c, n: a * (g - m - c),
    "mean(g) stands where mean(g * y) belongs": lambda a, g, m, y, c, n: a * (g - m - y * m),
    "a multiplies the first term alone": lambda a, g, m, y, c, n: a * g - m - y * c,
}


def assembled(terms: Terms, function: Normalize, y: Tensor, inverse: Tensor, grad: Tensor) -> Tensor:
    """Return the terms put together, for a result and an inverse deviation."""
    mean = grad.mean(function.axes, keepdim=True) if function.centred else torch.zeros(())
    correlation = (grad * y).sum(function.axes, keepdim=True) / function.count
    return terms(inverse, grad, mean, y, correlation, float(function.number(y)))


def right(a: Tensor, g: Tensor, m: Tensor, y: Tensor, c: Tensor, n: float) -> Tensor:
    """Return the derivative."""
    return a * (g - m - y * c)


def in_steps(function: Normalize, y: Tensor, inverse: Tensor, grad: Tensor) -> Tensor:
    """Return the derivative as it is found step by step: the same where the result has a mean of zero."""
    correlation = (grad * y).sum(function.axes, keepdim=True) / function.count
    formula = assembled(right, function, y, inverse, grad)
    return formula + inverse * y.mean(function.axes, keepdim=True) * correlation if function.centred else formula


def _changed(terms: Terms, local: Local, grad: Tensor, k: int) -> Tensor | None:
    function = local.step.func
    if not isinstance(function, Normalize):
        return None
    return assembled(terms, function, value(local), function.inverse(local.operands[k].detach()), grad)


def _entry(words: str, terms: Terms) -> Callable[[Local, Tensor, int], Tensor | None]:
    entry = partial(_changed, terms)
    entry.__doc__ = f"In its derivative, {FORMULA} {words}."
    return entry


SLOPES = tuple(_entry(words, terms) for words, terms in TERMS.items())


def _about_zero(function: Normalize, x: Tensor) -> Statistics:
    return function.mean(x), replace(function, centred=False).variance(x)


# The mean and the variance that a forward pass takes by mistake.
STATISTICS: dict[str, Callable[[Normalize, Tensor], Statistics]] = {
    "the mean is not subtracted": lambda function, x: (torch.zeros(()), function.variance(x)),
    "the variance is the mean square, of what is not centred": _about_zero,
}
