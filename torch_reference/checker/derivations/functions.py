"""The functions that are recognised where a reference writes them out."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

OPERATORS = torch.ops.aten
CENTRED = 1e-10  # the mean of what is normalised, relative to its largest entry
SPREAD = 0.3  # its mean square lies so near to 1, since epsilon is small beside a variance

ELEMENTWISE: dict[str, tuple[Any, ...]] = {
    "relu": (OPERATORS.relu.default,),
    "sigmoid": (OPERATORS.sigmoid.default,),
    "tanh": (OPERATORS.tanh.default,),
    "silu": (OPERATORS.silu.default,),
    "gelu": (OPERATORS.gelu.default,),
    "softplus": (OPERATORS.softplus.default,),
}


def along(dims: int) -> dict[str, tuple[Any, ...]]:
    """Return softmax and its logarithm along each axis."""
    found = {}
    for axis in reversed(range(dims)):
        found[f"softmax along {axis}"] = (OPERATORS._softmax.default, axis, False)
        found[f"log_softmax along {axis}"] = (OPERATORS._log_softmax.default, axis, False)
    return found


def binary_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Return the cross-entropy of sigmoid(logits) and a target, entry by entry."""
    return functional.softplus(logits, threshold=1000) - target * logits


@dataclass(frozen=True)
class Normalize:
    """(x - mean) / sqrt(variance + epsilon) along some axes, or x / sqrt(mean square + epsilon).

    Attributes
    ----------
    axes : tuple of int
        Where the statistics are taken.
    centred : bool
        Whether the mean is taken away.
    count : float
        What the sum of squares is divided by.
    epsilon : float
        The constant below the root.
    """

    axes: tuple[int, ...]
    centred: bool
    count: float
    epsilon: float

    @property
    def name(self) -> str:
        """What it is called."""
        return "normalize"

    def __call__(self, x: Tensor) -> Tensor:
        """Return the normalised array."""
        return self.centre(x) * self.inverse(x)

    def centre(self, x: Tensor) -> Tensor:
        """Return the array without its mean."""
        return x - self.mean(x) if self.centred else x

    def mean(self, x: Tensor) -> Tensor:
        """Return what is subtracted."""
        return x.mean(self.axes, keepdim=True) if self.centred else torch.zeros(())

    def variance(self, x: Tensor) -> Tensor:
        """Return the sum of squares, divided."""
        return (self.centre(x) ** 2).sum(self.axes, keepdim=True) / self.count

    def inverse(self, x: Tensor) -> Tensor:
        """Return the inverse of the deviation."""
        return torch.rsqrt(self.variance(x) + self.epsilon)

    def number(self, x: Tensor) -> int:
        """Return over how many entries the statistics are taken."""
        return torch.Size([x.shape[axis] for axis in self.axes]).numel()

    def along(self, axes: tuple[int, ...], x: Tensor) -> "Normalize":
        """Return the normalisation along other axes."""
        less = self.number(x) - self.count
        other = replace(self, axes=axes)
        return replace(other, count=max(1.0, other.number(x) - less))


def is_even(y: Tensor) -> bool:
    """Say whether sums or means of squares along some axes are near 1: only then is something a normalisation."""
    squares = [(y * y).sum(axes) for count in range(1, y.dim() + 1) for axes in combinations(range(y.dim()), count)]
    return any(_is_one(square) or _is_one(square * (square.numel() / y.numel())) for square in squares)


def _is_one(square: Tensor) -> bool:
    return float((square - 1).abs().max()) < SPREAD


def normalized(x: Tensor, y: Tensor) -> Iterator[Normalize]:
    """Yield the normalisation that makes y of x, if there is one."""
    for count in range(1, x.dim() + 1):
        for axes in combinations(range(x.dim()), count):
            n = torch.Size([x.shape[axis] for axis in axes]).numel()
            square = (y * y).mean(axes)
            unit = _is_one(n * square)
            if n < 2 or not (unit or _is_one(square)):
                continue
            centred = float(y.mean(axes).abs().max()) <= CENTRED * float(y.abs().max())
            for less in (0, 1) if centred else (0,):
                divisor = 1.0 if unit else float(n - less)
                plain = Normalize(axes, centred, divisor, 0.0)
                centre = plain.centre(x)
                ratio = (y * centre).sum(axes, keepdim=True) / (centre * centre).sum(axes, keepdim=True)
                epsilon = float((ratio**-2 - plain.inverse(x) ** -2).mean())
                found = Normalize(axes, centred, divisor, epsilon if abs(epsilon) > 1e-14 else 0.0)
                if epsilon > -1e-12 and bool((found(x) - y).abs().max() <= 1e-9 * y.abs().max()):
                    yield found
                    return


@dataclass(frozen=True)
class Recurrence:
    """y_t = a_t * y_(t-1) + x_t along an axis, from y_0 = x_0 on: a scan, as in state-space layers.

    Attributes
    ----------
    axis : int
        Time.
    """

    axis: int

    @property
    def name(self) -> str:
        """What it is called."""
        return "recurrence"

    def __call__(self, x: Tensor, a: Tensor) -> Tensor:
        """Return all states."""
        states: list[Tensor] = []
        for decay, entry in zip(a.expand(x.shape).unbind(self.axis), x.unbind(self.axis), strict=True):
            states.append(decay * states[-1] + entry if states else entry)
        return torch.stack(states, self.axis)


def recurrences(x: Tensor, a: Tensor, y: Tensor) -> Iterator[Recurrence]:
    """Yield the recurrence that makes y of x and a, if there is one; a may be shared by steps or channels."""
    if a.dim() > x.dim() or any(own not in (1, size) for own, size in zip(a.shape[::-1], x.shape[::-1], strict=False)):
        return
    for axis, steps in enumerate(x.shape):
        before = torch.cat([torch.zeros_like(y.narrow(axis, 0, 1)), y.narrow(axis, 0, steps - 1)], axis)
        if steps > 2 and bool((a * before + x - y).abs().max() <= 1e-10 * (1 + y.abs().max())):
            yield Recurrence(axis)
            return
