"""Further inputs, derived from given ones, where functions go wrong: zeros, ties, saturation, odd sizes, other ranks.

Which of them make sense only the reference can say: those that it refuses, or where it is not finite, are left out.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import torch

Inputs = dict[str, Any]
LARGE = 30.0  # in units of the largest entry: exponentials saturate there, and do not overflow


def stressed(inputs: Mapping[str, Any]) -> Iterator[tuple[str, Inputs]]:
    """Yield words and inputs, one derived point after the other."""
    floating = [name for name, value in inputs.items() if _is_floating(value) and value.numel()]
    for name in floating:
        value = inputs[name].detach()
        yield f"{name} all zeros", {**inputs, name: torch.zeros_like(value)}
        if value.dim():
            yield f"the first row of {name} zeros", {**inputs, name: _with_first(value, 0.0)}
            yield f"ties in {name}", {**inputs, name: _tied(value)}
        yield f"large {name}", {**inputs, name: value * LARGE}
    yield from _sizes(inputs)
    yield from _ranks(inputs, floating)


def _sizes(inputs: Mapping[str, Any]) -> Iterator[tuple[str, Inputs]]:
    """Let all axes of one size grow or shrink together: they are that of one thing, the batch or the features."""
    sizes = {size for value in inputs.values() if isinstance(value, torch.Tensor) for size in value.shape if size > 0}
    for size in sorted(sizes):
        for other in [size + 1, *{size - 1, 1} - {size, 0}]:
            changed = {
                name: _resized(value, size, other) if isinstance(value, torch.Tensor) else value
                for name, value in inputs.items()
            }
            yield f"sizes of {other} for {size}", changed


def _ranks(inputs: Mapping[str, Any], floating: list[str]) -> Iterator[tuple[str, Inputs]]:
    """Give the tensors of highest rank an axis more in front, or take the first one away."""
    rank = max((inputs[name].dim() for name in floating), default=0)
    highest = [
        name
        for name, value in inputs.items()
        if isinstance(value, torch.Tensor) and value.dim() == rank and value.numel()
    ]
    if rank:
        doubled = {name: torch.stack([inputs[name].detach(), inputs[name].detach().flip(0)]) for name in highest}
        yield f"another axis in front of {', '.join(highest)}", {**inputs, **doubled}
    if rank > 1:
        first = {name: inputs[name].detach()[0] for name in highest}
        yield f"no first axis of {', '.join(highest)}", {**inputs, **first}


def _with_first(value: torch.Tensor, entry: float) -> torch.Tensor:
    changed = value.clone()
    changed[0] = entry
    return changed


def _tied(value: torch.Tensor) -> torch.Tensor:
    """Round to few different numbers, and let the second entry along each axis be the first."""
    tied = (2 * value).round() / 2
    for axis, size in enumerate(value.shape):
        if size > 1:
            tied.select(axis, 1).copy_(tied.select(axis, 0).clone())
    return tied


def _resized(value: torch.Tensor, size: int, other: int) -> torch.Tensor:
    """Repeat or leave out entries along each axis of one size."""
    for axis, found in enumerate(value.shape):
        if found == size:
            places = torch.arange(other, device=value.device) % size
            value = value.detach().index_select(axis, places)
    return value


def _is_floating(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point()
