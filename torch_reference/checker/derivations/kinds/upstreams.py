"""The mistakes in what an operation's derivative is multiplied by: the gradient of its result."""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from torch_reference.checker.derivations.change import Change, derived, flowing, value, which
from torch_reference.checker.derivations.kinds.sources import Source, sources
from torch_reference.checker.derivations.site import Site
from torch_reference.checker.tape.replay import Local, Replay


def other_upstreams(replay: Replay, site: Site) -> Iterator[Change]:
    """Yield gradients of the result that belong to another one, or that are multiplied by another array, or divided."""
    local = replay.at(site.step)
    shape = value(local).shape
    places = [None, *(flowing(local) if len(flowing(local)) > 1 else [])]
    for source in sources(replay, site):
        grad = replay.upstream.get(source.last)
        if source.last not in site.step.outputs and grad is not None and grad.shape == shape:
            said = f"it gets the gradient of {source.words}, not that of its own result"
            for k in places:
                words = said if k is None else said + which(local, k)
                yield derived(
                    site, words, partial(_upstream_of, source, site, k), 2.7 + (0.3 if k is not None else 0.0)
                )
        other = replay.values[source.last]
        if not other.dim() or not _fits(other.shape, shape):
            continue
        for power, words in ((1, "multiplied by"), (-1, "divided by"), (2, "multiplied by the square of")):
            said = f"the gradient of its result is {words} {source.words} once too often"
            rank = 2.6 + abs(power) * 0.1 + 0.02 * source.far
            for k in places:
                said_for = said if k is None else said + which(local, k)
                yield derived(site, said_for, partial(_times, source, site, power, k), rank)


def _upstream_of(source: Source, site: Site, k: int | None, local: Local, grad: Tensor, _: float) -> list[Tensor]:
    return _for(k, local, grad, source.gradient(site, local))


def _times(source: Source, site: Site, power: int, k: int | None, local: Local, grad: Tensor, _: float) -> list[Tensor]:
    return _for(k, local, grad, grad * source.value(site, local).detach() ** power)


def _for(k: int | None, local: Local, grad: Tensor, other: Tensor) -> list[Tensor]:
    """Pass another gradient on to one operand, or to all."""
    passed = local.vjp(other)
    return passed if k is None else [passed[k] if place == k else own for place, own in enumerate(local.vjp(grad))]


def _fits(one: torch.Size, shape: torch.Size) -> bool:
    """Say whether an array can be multiplied into another without changing that one's shape."""
    return len(one) <= len(shape) and all(a in (1, b) for a, b in zip(one[::-1], shape[::-1], strict=False))
