"""Simpler points than a given one: where a function is right there, what was taken away is what it gets wrong."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch

from torch_reference.checker.functions.probes.calls import Tensors

AXES = 4  # of an output, of which so many at most are tried
# How many of the first entries along an axis are kept (of the last if negative), and the words for the others.
PARTS: tuple[tuple[Callable[[int], int], str], ...] = (
    (lambda size: max(0, size - 1), "in the last entry"),
    (lambda size: 2 ** ((size - 1).bit_length() - 1) if size > 1 else size, "after a power of two"),
    (lambda size: min(1, size), "after the first entry"),
    (lambda size: -min(1, size), "before the last entry"),  # which another one has overwritten
)


def simplified(
    inputs: dict[str, Any], upstream: Mapping[str, torch.Tensor]
) -> Iterator[tuple[str, str, dict[str, Any], Tensors]]:
    """Yield what a function gets wrong if it is right there, in words and in one, and simpler inputs and upstream."""
    strided = [name for name, value in inputs.items() if isinstance(value, torch.Tensor) and not value.is_contiguous()]
    if strided:
        straight = {name: inputs[name].detach().contiguous() for name in strided}
        words = f"Wrong for these strides of {', '.join(strided)}; right for contiguous tensors."
        yield words, "layout", {**inputs, **straight}, dict(upstream)
    if len(upstream) > 1:
        for name, value in upstream.items():
            words = f"It does not follow the upstream gradient of {name}: right only where that is zero."
            yield words, "upstream", inputs, {**upstream, name: torch.zeros_like(value)}
    axes = range(min(AXES, max(value.dim() for value in upstream.values())))
    for axis in axes:
        for kept, words in PARTS:
            said = (
                f"Along axis {axis} of the output it ignores its upstream gradient {words}: right only where that is 0."
            )
            kind = "alone" if kept(1) < 0 else "ignored"
            yield said, kind, inputs, {name: _part(value, axis, kept) for name, value in upstream.items()}
    for axis in axes:
        words = f"It mixes its upstream gradient along axis {axis} of the output: right only for equal entries."
        yield words, "upstream", inputs, {name: _level(value, axis) for name, value in upstream.items()}


def _part(value: torch.Tensor, axis: int, kept: Callable[[int], int]) -> torch.Tensor:
    """Return zeros in place of all but some first entries along an axis."""
    if axis >= value.dim() or not value.numel():
        return value
    part = value.clone()
    number = kept(value.shape[axis])
    others = value.shape[axis] - abs(number)
    part.narrow(axis, max(0, number), others).zero_()
    return part


def _level(value: torch.Tensor, axis: int) -> torch.Tensor:
    """Return the first entry along an axis in place of all."""
    if axis >= value.dim() or not value.numel():
        return value
    return value.narrow(axis, 0, 1).expand(value.shape).contiguous()
