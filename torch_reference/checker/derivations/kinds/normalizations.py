"""The mistakes of normalisations: statistics along other axes or of another kind, means counted otherwise."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import combinations

import torch
from torch import Tensor

from torch_reference.checker.derivations.change import Change, derived, every, exchanged, value
from torch_reference.checker.derivations.functions import Normalize
from torch_reference.checker.derivations.kinds.blocks import beyond
from torch_reference.checker.derivations.kinds.catalogue.normalization import (
    FORMULA,
    STATISTICS,
    Statistics,
    assembled,
    in_steps,
    right,
)
from torch_reference.checker.derivations.site import Site
from torch_reference.checker.tape.replay import Local, Replay, own_backward

USUAL = (0.0, 1e-3, 1e-5, 1e-6, 1e-8, 1e-12)  # epsilons


def other_normalizations(replay: Replay, site: Site) -> Iterator[Change]:
    """Yield the mistakes at a normalisation."""
    function, x = site.step.func, replay.at(site.step).operands[0]
    if not isinstance(function, Normalize) or function.count == 1:
        return
    if function.centred:
        words = f"in its derivative, {FORMULA} both means are multiplied by {{share}}"
        yield derived(site, words, _counted, 1.2, fitted=True)
    for count in range(1, x.dim() + 1):
        for axes in combinations(range(x.dim()), count):
            if axes != function.axes:
                along = f"along {_named(axes)}, not {_named(function.axes)}"
                other = function.along(axes, x)
                yield derived(site, f"of its derivative the means are taken {along}", partial(_means, other), 1.3)
                if function.centred:
                    for mean, apart in (("mean(g)", (other, function)), ("mean(g * y)", (function, other))):
                        words = f"in its derivative, {FORMULA} {mean} is taken {along}"
                        yield derived(site, words, partial(_apart, *apart), 1.4)
                yield from _four_ways(site, f"is taken {along}", partial(_of, other, other), 2.2)
                if function.centred:
                    yield from _four_ways(site, f"the mean is taken {along}", partial(_of, other, function), 2.4)
                    yield from _four_ways(site, f"the variance is taken {along}", partial(_of, function, other), 2.4)
    for words, statistics in STATISTICS.items() if function.centred else ():
        yield from _four_ways(site, words, statistics, 2.2)
    for more in beyond(function.number(x)) if function.centred else ():
        words = f"the variance counts {more} entries of 0 beyond the end of its axis: they are not masked"
        yield from _four_ways(site, words, partial(_unmasked, more), 1.6)
    for epsilon in USUAL:
        if abs(epsilon - function.epsilon) > 1e-3 * epsilon:
            yield from _four_ways(site, f"epsilon is {epsilon:g}", partial(_of, function, function), 2.3, epsilon)


def _four_ways(
    site: Site,
    words: str,
    statistics: Callable[[Normalize, Tensor], Statistics],
    rank: float,
    epsilon: float | None = None,
) -> Iterator[Change]:
    """Yield other statistics, derived rightly; for the derivative alone; with that of the right ones, in two forms."""

    def parts(local: Local) -> tuple[Tensor, Tensor]:
        function, x = local.step.func, local.operands[0]
        mean, variance = statistics(function, x)
        inverse = torch.rsqrt(variance + (function.epsilon if epsilon is None else epsilon))
        return (x - mean) * inverse, inverse

    def formula(derivative: Callable[..., Tensor], local: Local, _: float) -> object:
        y, inverse = (part.detach() for part in parts(local))
        return own_backward(local, lambda grad: [derivative(local.step.func, y, inverse, grad)], y)

    yield Change("derivative", site, words, every(site, lambda local, _: parts(local)[0]), rank)
    back = f"{words}, in the backward pass alone"
    yield Change(
        "derivative", site, back, every(site, lambda local, _: exchanged(value(local), parts(local)[0])), rank + 0.2
    )
    alone = f"{words}, and the derivative follows the right formula at that result"
    for derivative in (partial(assembled, right), in_steps):
        yield Change("derivative", site, alone, every(site, partial(formula, derivative)), rank + 0.1)


def _of(means: Normalize, variances: Normalize, _: Normalize, x: Tensor) -> Statistics:
    return means.mean(x), variances.variance(x)


def _unmasked(more: int, function: Normalize, x: Tensor) -> Statistics:
    mean = function.mean(x)
    return mean, function.variance(x) + more / function.count * mean**2


def _means(other: Normalize, local: Local, grad: Tensor, _: float) -> list[Tensor]:
    inverse = local.step.func.inverse(local.operands[0].detach())
    return [assembled(right, other, value(local), inverse, grad)]


def _apart(first: Normalize, second: Normalize, local: Local, grad: Tensor, _: float) -> list[Tensor]:
    """Return the derivative with the means of g and of g * y along axes of their own."""
    y, inverse = value(local), local.step.func.inverse(local.operands[0].detach())
    correlation = (grad * y).sum(second.axes, keepdim=True) / second.count
    return [right(inverse, grad, first.mean(grad), y, correlation, 0.0)]


def _counted(local: Local, grad: Tensor, share: float) -> list[Tensor]:
    function, x = local.step.func, local.operands[0].detach()
    inverse = function.inverse(x)
    return [share * assembled(right, function, value(local), inverse, grad) + (1 - share) * inverse * grad]


def _named(axes: tuple[int, ...]) -> str:
    return f"axis {axes[0]}" if len(axes) == 1 else f"axes {', '.join(map(str, axes))}"
