"""Where a computation takes a decision: on which side of a kink it is, which entry is the largest.

`boundaries` and `decisions` read one dispatched operation; `TieScan` lists the decisions that rounding could have taken
the other way, and `TieBreak` takes chosen ones the other way.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

AT_ZERO = set("relu relu_ leaky_relu leaky_relu_ _prelu_kernel abs sgn sign elu elu_".split())
AT_ARGUMENTS = set(
    "threshold threshold_ clamp clamp_ clamp_min clamp_min_ clamp_max clamp_max_ hardtanh hardtanh_ "
    "gt ge lt le eq ne maximum minimum fmax fmin".split()
)
AT_BOTH_SIGNS = {"softshrink": 0.5, "hardshrink": 0.5, "hardswish": 3.0, "hardsigmoid": 3.0}
HARDTANH = (-1.0, 1.0)
CHOICES = set(
    "amax amin max min sort topk kthvalue median cummax cummin argmax argmin max_pool2d_with_indices "
    "max_pool3d_with_indices adaptive_max_pool2d multi_margin_loss_forward multi_margin_loss".split()
)
NUDGE = 2.0**-50  # far below rounding of any input, far above none
TINY = 1e-290  # where the boundary is zero


def boundaries(name: str, args: tuple[Any, ...]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield each operand that an elementwise operation compares, and what with."""
    if not args or not isinstance(args[0], torch.Tensor):
        return
    operand = args[0]
    if name in AT_ZERO:
        limits: list[Any] = [0.0]
    elif name in AT_BOTH_SIGNS:
        limit = args[1] if len(args) > 1 else AT_BOTH_SIGNS[name]
        limits = [-limit, limit]
    elif name in {"threshold", "threshold_"}:
        limits = [args[1]]
    elif name in {"hardtanh", "hardtanh_"}:
        limits = list(args[1:3]) or list(HARDTANH)
    elif name in AT_ARGUMENTS:
        limits = [limit for limit in args[1:3] if limit is not None]
    else:
        return
    for limit in limits:
        other = torch.as_tensor(limit)
        if not (operand.is_floating_point() or other.is_floating_point()):
            continue
        shape = torch.broadcast_shapes(operand.shape, other.shape)
        if operand.shape == shape and operand.is_floating_point():
            yield operand, other.to(operand.dtype).expand(shape)
        elif other.shape == shape and other.is_floating_point():
            yield other, operand.to(other.dtype).expand(shape)


def decisions(name: str, args: tuple[Any, ...], results: tuple[Any, ...]) -> Iterator[torch.Tensor]:
    """Yield the decisions of an operation as tensors of integers or truth values."""
    for operand, limit in boundaries(name, args):
        yield operand > limit
        yield operand < limit
    if name in CHOICES:
        yield from (result for result in results if isinstance(result, torch.Tensor) and result.dtype == torch.int64)
        if len(results) == 1 and results[0].is_floating_point():
            best = args[0].amax if name in {"amax", "max"} else args[0].amin
            yield args[0] == best(args[1] if len(args) > 1 else (), keepdim=True)


@dataclass(frozen=True)
class Tie:
    """One entry of one operation's operand that rounding could have put on the other side.

    Attributes
    ----------
    operation : int
        Which of the decisions of the computation, counted from 0.
    entry : int
        Index into the flattened operand.
    side : int
        +1 to move it above the boundary (or its rivals), -1 below.
    reach : float
        How far rounding may have moved it.
    """

    operation: int
    entry: int
    side: int
    reach: float


Decision = tuple[torch.Tensor, torch.Tensor | None]


class Recorder(TorchDispatchMode):
    """Keep the operands of every decision, with their boundaries (None where the entries compete with each other)."""

    def __init__(self) -> None:
        super().__init__()
        self.decisions: list[Decision] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one operation and keep its operands."""
        for operand, limit in operands(func._schema.name.removeprefix("aten::"), args):
            self.decisions.append((operand.detach().clone(), None if limit is None else limit.detach().clone()))
        return func(*args, **(kwargs or {}))


class TieBreak(TorchDispatchMode):
    """Take the given ties to their other side, by moving the operand there by next to nothing."""

    def __init__(self, ties: list[Tie]) -> None:
        super().__init__()
        self.count = 0
        self.moves: dict[int, list[Tie]] = {}
        for tie in ties:
            self.moves.setdefault(tie.operation, []).append(tie)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one operation after moving its tied operands."""
        for operand, limit in operands(func._schema.name.removeprefix("aten::"), args):
            if self.count in self.moves:
                _move(operand, limit, self.moves[self.count])
            self.count += 1
        return func(*args, **(kwargs or {}))


def _move(operand: torch.Tensor, limit: torch.Tensor | None, ties: list[Tie]) -> None:
    index = np.unravel_index([tie.entry for tie in ties], operand.shape) if operand.dim() else ()
    where = tuple(torch.from_numpy(axis) for axis in index) if operand.dim() else ...
    sides = torch.tensor([tie.side for tie in ties], dtype=operand.dtype)
    target = (operand if limit is None else limit)[where]
    relative = max(NUDGE, 2 * torch.finfo(operand.dtype).eps)
    nudge = (target.abs() * relative).clamp(min=max(TINY, torch.finfo(operand.dtype).tiny))
    if limit is None:
        nudge = torch.maximum(nudge, 4 * torch.tensor([tie.reach for tie in ties], dtype=operand.dtype))
        nudge *= torch.linspace(1, 2, len(ties), dtype=operand.dtype)  # rivals moved together must not stay tied
    moved = target + sides * nudge
    operand.data[where] = moved if operand.dim() else moved.reshape(())


def operands(name: str, args: tuple[Any, ...]) -> list[Decision]:
    """Return the operands that an operation decides on, with their boundaries."""
    if name in CHOICES and args[0].is_floating_point() and args[0].numel():
        return [(args[0], None)]
    return [pair for pair in boundaries(name, args) if pair[0].numel()]


def ties(base: list[Decision], noisy: list[list[Decision]], factor: float) -> list[Tie]:
    """Return the entries that lie closer to their boundary than rounding can tell.

    Parameters
    ----------
    base, noisy : lists of decisions
        Those of the plain computation, and those of computations with noise on every result.
    factor : float
        How many times the scatter over the noisy computations rounding may amount to.
    """
    found = []
    for number, (operand, limit) in enumerate(base):
        distance = operand if limit is None else operand - limit
        square = torch.zeros_like(distance)
        for decisions_ in noisy:
            if number < len(decisions_) and decisions_[number][0].shape == operand.shape:
                other, other_limit = decisions_[number]
                square += ((other if other_limit is None else other - other_limit) - distance) ** 2
        reach = factor * (square / max(1, len(noisy))).sqrt().nan_to_num(0.0)
        sides = _rivals(operand, reach) if limit is None else _sides(distance, reach)
        for mask, side in sides:
            entries = mask.reshape(-1).nonzero().reshape(-1).tolist()
            found += [Tie(number, entry, side, float(reach.reshape(-1)[entry])) for entry in entries]
    return found


def _sides(distance: torch.Tensor, reach: torch.Tensor) -> list[tuple[torch.Tensor, int]]:
    close = distance.abs() <= reach
    return [(close & (distance <= 0), 1), (close & (distance >= 0), -1)]


def _rivals(operand: torch.Tensor, reach: torch.Tensor) -> list[tuple[torch.Tensor, int]]:
    """Entries of equal value compete, wherever they stand: a superset of the true rivals."""
    flat, reach = operand.reshape(-1), reach.reshape(-1)
    order = flat.argsort()
    near = flat[order].diff() <= reach[order][1:] + reach[order][:-1]
    tied = torch.zeros(flat.shape, dtype=torch.bool)
    tied[order[1:][near]] = True
    tied[order[:-1][near]] = True
    return [(tied, 1), (tied, -1)]
