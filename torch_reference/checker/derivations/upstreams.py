"""The mistakes in what an operation's derivative is multiplied by: the gradient of its result."""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from torch_reference.checker.derivations.change import Change, flowing, passing, value, which
from torch_reference.checker.derivations.readings import aligned, candidates, far
from torch_reference.checker.derivations.site import Site, described
from torch_reference.checker.tape.replay import Local, Replay


def other_upstreams(replay: Replay, site: Site) -> Iterator[Change]:
    """Yield gradients of the result that belong to another one, or that are multiplied by another array, or divided."""
    local = replay.at(site.step.number)
    shape = value(local).shape
    for number in candidates(replay, site):
        grad = replay.upstream.get(number)
        if number not in site.step.outputs and grad is not None and grad.shape == shape:
            said = f"it gets the gradient of {described(replay, number)}, not that of its own result"
            for k in [None, *(flowing(local) if len(flowing(local)) > 1 else [])]:
                rules = passing(site, partial(_upstream_of, replay, site, number, k))
                words = said if k is None else said + which(local, k)
                yield Change("derivative", site, words, rules, 1.6 + (0.3 if k is not None else 0.0))
    for number in candidates(replay, site):
        other = replay.values[number]
        if not other.dim() or not _fits(other.shape, shape):
            continue
        for power, words in ((1, "multiplied by"), (-1, "divided by"), (2, "multiplied by the square of")):
            said = f"the gradient of its result is {words} {described(replay, number)} once too often"
            for k in [None, *(flowing(local) if len(flowing(local)) > 1 else [])]:
                rules = passing(site, partial(_times, replay, site, number, power, k))
                said_for = said if k is None else said + which(local, k)
                yield Change(
                    "derivative", site, said_for, rules, 2.6 + abs(power) * 0.1 + 0.02 * far(replay, site, number)
                )


def _upstream_of(
    replay: Replay, site: Site, number: int, k: int | None, local: Local, grad: Tensor, _: float
) -> list[Tensor]:
    other = local.vjp(local.replay.upstream[aligned(replay, site, number, local)])
    return other if k is None else [other[k] if place == k else own for place, own in enumerate(local.vjp(grad))]


def _times(
    replay: Replay, site: Site, number: int, power: int, k: int | None, local: Local, grad: Tensor, _: float
) -> list[Tensor]:
    other = local.vjp(grad * local.replay.values[aligned(replay, site, number, local)].detach() ** power)
    return other if k is None else [other[k] if place == k else own for place, own in enumerate(local.vjp(grad))]


def _fits(one: torch.Size, shape: torch.Size) -> bool:
    """Say whether an array can be multiplied into another without changing that one's shape."""
    return len(one) <= len(shape) and all(a in (1, b) for a, b in zip(one[::-1], shape[::-1], strict=False))
