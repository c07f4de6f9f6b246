"""Decisions of a computation that rounding could have taken the other way, and how to take them the other way."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

from torch_reference.checker.reference.decisions import Decision, decided

NUDGE = 2.0**-50  # relative: far below what matters, far above nothing
TINY = 1e-290  # where the boundary is zero


@dataclass(frozen=True)
class Tie:
    """One entry of one operation's operand that rounding could have put on the other side.

    Attributes
    ----------
    decision : int
        Which of the decisions of the computation, counted from 0.
    entry : int
        Index into the flattened operand.
    side : int
        +1 to move it above the boundary (or its rivals), -1 below.
    reach : float
        How far rounding may have moved it.
    contest : int
        Which of the contests it takes part in where entries compete to be the largest, else -1.
    """

    decision: int
    entry: int
    side: int
    reach: float
    contest: int = -1


class Recorder(TorchDispatchMode):
    """Keep a copy of everything that is decided on.

    Attributes
    ----------
    decisions : list of Decision
        In the order of the computation.
    operands : list of tensor
        The operands themselves. Two decisions on one operand are one tie: whoever moves it moves both.
    """

    def __init__(self) -> None:
        super().__init__()
        self.decisions: list[Decision] = []
        self.operands: list[torch.Tensor] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one operation and keep its operands."""
        for decision in decided(func._schema.name.removeprefix("aten::"), args):
            self.operands.append(decision.operand)
            limit = None if decision.limit is None else decision.limit.detach().clone()
            self.decisions.append(replace(decision, operand=decision.operand.detach().clone(), limit=limit))
        return func(*args, **(kwargs or {}))


class TieBreak(TorchDispatchMode):
    """Take the given ties to their other side.

    Parameters
    ----------
    ties : sequence of Tie
        Which.
    far : bool
        Move the operand as far as rounding may have moved it, and not by next to nothing.
    """

    def __init__(self, ties: Sequence[Tie], far: bool = False) -> None:
        super().__init__()
        self.far = far
        self.count = 0
        self.moves: dict[int, list[Tie]] = {}
        for tie in ties:
            self.moves.setdefault(tie.decision, []).append(tie)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one operation after moving its tied operands."""
        for decision in decided(func._schema.name.removeprefix("aten::"), args):
            if self.count in self.moves:
                with _disable_current_modes():  # moving is no part of the computation
                    _move(decision, self.moves[self.count], self.far)
            self.count += 1
        return func(*args, **(kwargs or {}))


class HoldDecisions(TorchDispatchMode):
    """Keep the decisions of another computation: an operand that noise moved across goes back to its first place.

    Parameters
    ----------
    plain : list of Decision
        Those of the other computation.
    """

    def __init__(self, plain: list[Decision]) -> None:
        super().__init__()
        self.plain = iter(plain)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one operation after moving back its operands."""
        for decision, before in zip(decided(func._schema.name.removeprefix("aten::"), args), self.plain, strict=False):
            if decision.operand.shape == before.operand.shape:
                with _disable_current_modes():  # moving is no part of the computation
                    _move_back(decision, before)
        return func(*args, **(kwargs or {}))


def _move_back(decision: Decision, before: Decision) -> None:
    operand = decision.operand.data
    if decision.limit is not None and before.limit is not None:
        distance = before.operand - before.limit
        flipped = (operand - decision.limit).sign() != distance.sign()
        operand[flipped] = (decision.limit + distance)[flipped]
    elif decision.windows is not None and before.windows is not None:
        index = decision.windows.clamp(min=0)
        values, first = [(decision.side * each).reshape(-1)[index] for each in (operand, before.operand)]
        absent = decision.windows < 0
        now, then = [each.masked_fill(absent, -torch.inf).argmax(dim=1) for each in (values, first)]
        moved = index[now != then].reshape(-1)
        where = torch.unravel_index(moved, operand.shape)
        operand[where] = before.operand[where]
    elif not torch.equal(operand.reshape(-1).argsort(stable=True), before.operand.reshape(-1).argsort(stable=True)):
        operand.copy_(before.operand)


def _move(decision: Decision, ties: Sequence[Tie], far: bool) -> None:
    """Change the operand in place, so that what autograd has kept of it changes too."""
    operand, limit = decision.operand, decision.limit
    index = np.unravel_index([tie.entry for tie in ties], operand.shape)
    where = tuple(torch.from_numpy(np.asarray(axis)) for axis in index) if operand.dim() else ...
    sides = torch.tensor([tie.side for tie in ties], dtype=operand.dtype)
    target = (operand if limit is None else limit)[where]
    precision = torch.finfo(operand.dtype)
    nudge = (target.abs() * max(NUDGE, 2 * precision.eps)).clamp(min=max(TINY, precision.tiny))
    reach = torch.tensor([tie.reach for tie in ties], dtype=operand.dtype)
    if far:
        nudge = torch.maximum(nudge, reach)
    if limit is None:  # above all rivals, and rivals that move together must not stay tied
        met: Counter[int] = Counter()
        for number, tie in enumerate(ties):
            met[tie.contest] += 1
            reach[number] *= met[tie.contest]
            nudge[number] *= met[tie.contest]
        nudge = torch.maximum(nudge, 4 * reach)
    moved = target + sides * nudge
    operand.data[where] = moved if operand.dim() else moved.reshape(())


def find_ties(plain: Recorder, noisy: list[list[Decision]], factor: float) -> list[Tie]:
    """Return the entries that lie closer to their boundary, or to a rival, than rounding can tell.

    Parameters
    ----------
    plain : Recorder
        Has seen the plain computation.
    noisy : list of lists of Decision
        Those of computations with noise on every result.
    factor : float
        How many times the mean change over the noisy computations rounding may amount to.
    """
    found: list[Tie] = []
    for number, decision in enumerate(plain.decisions):
        if any(_one(plain, number, earlier) for earlier in range(number)):
            continue
        distance = _distance(decision)
        same = [other[number] for other in noisy if number < len(other)]
        changes = [(_distance(other) - distance).abs() for other in same if other.operand.shape == distance.shape]
        reach = (
            factor * torch.stack([*changes, torch.zeros_like(distance)]).nan_to_num(0.0).sum(0) / max(1, len(changes))
        )
        if decision.limit is not None:
            close = distance.abs() <= reach
            sides = [(close & (distance <= 0), 1), (close & (distance >= 0), -1)]
            found += _listed(number, sides, reach)
        elif decision.windows is not None:
            found += _contests(number, decision, decision.windows, reach)
        else:
            tied = _equals(distance.reshape(-1), reach.reshape(-1))
            found += _listed(number, [(tied, 1), (tied, -1)], reach)
    return found


def _one(plain: Recorder, number: int, earlier: int) -> bool:
    """Say whether two decisions compare the same memory with the same limit."""
    this, that = plain.operands[number], plain.operands[earlier]
    if this.data_ptr() != that.data_ptr() or this.shape != that.shape or this.stride() != that.stride():
        return False
    limit, other = plain.decisions[number].limit, plain.decisions[earlier].limit
    return limit is other is None or (limit is not None and other is not None and torch.equal(limit, other))


def _distance(decision: Decision) -> torch.Tensor:
    return decision.operand if decision.limit is None else decision.operand - decision.limit


def _listed(number: int, sides: list[tuple[torch.Tensor, int]], reach: torch.Tensor) -> list[Tie]:
    flat = reach.reshape(-1)
    return [
        Tie(number, entry, side, float(flat[entry]))
        for mask, side in sides
        for entry in mask.reshape(-1).nonzero().reshape(-1).tolist()
    ]


def _contests(number: int, decision: Decision, windows: torch.Tensor, reach: torch.Tensor) -> list[Tie]:
    """Return the entries within reach of the winner of their window."""
    absent = windows < 0
    index = windows.clamp(min=0)
    values = (decision.side * decision.operand).reshape(-1)[index].masked_fill(absent, -torch.inf)
    near = reach.reshape(-1)[index]
    best, winner = values.max(dim=1, keepdim=True)
    close = values >= best - near - near.gather(1, winner)
    close &= ~absent & (close.sum(dim=1, keepdim=True) > 1)
    return [
        Tie(number, int(index[row, column]), decision.side, float(near[row, column]), row)
        for row, column in close.nonzero().tolist()
    ]


def _equals(values: torch.Tensor, reach: torch.Tensor) -> torch.Tensor:
    """Entries of equal value compete, wherever they stand: a superset of the true rivals."""
    order = values.argsort()
    near = values[order].diff() <= reach[order][1:] + reach[order][:-1]
    tied = torch.zeros(values.shape, dtype=torch.bool)
    tied[order[1:][near]] = True
    tied[order[:-1][near]] = True
    return tied
