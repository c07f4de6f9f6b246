"""Decisions of a computation: on which side of a boundary an entry is, which of several is the largest.

Each kind knows which entries rounding could have put elsewhere (`near`), and how to `move` and to `restore` them.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import torch

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


@dataclass(frozen=True, eq=False)
class Decision(ABC):
    """What one operation decides on.

    Attributes
    ----------
    operand : tensor
        The entries that are decided on.
    compete : bool
        Whether they are compared with each other.
    """

    operand: torch.Tensor
    compete: ClassVar[bool] = True

    @abstractmethod
    def kept(self) -> Self:
        """Return a copy that the computation cannot change any more."""

    @abstractmethod
    def near(self, number: int, reach: torch.Tensor) -> list[Tie]:
        """Return the entries that lie closer to their boundary, or to a rival, than rounding can tell.

        Parameters
        ----------
        number : int
            Which of the decisions of the computation this is.
        reach : tensor
            How far rounding may have moved each entry.
        """

    @abstractmethod
    def restore(self, before: Self) -> None:
        """Take the entries that are on another side than in another computation back to where they were."""

    def margin(self) -> torch.Tensor:
        """Return what the decision depends on: each entry, or its distance from the boundary."""
        return self.operand

    def same_question(self, other: "Decision") -> bool:
        """Say whether another decision on the same operand asks the same."""
        return type(self) is type(other)

    def outcomes(self) -> list[torch.Tensor]:
        """Return how each entry is decided, as far as the operand alone tells."""
        return []

    def move(self, ties: Sequence[Tie], far: bool) -> None:
        """Change the operand in place, so that what autograd has kept of it changes too.

        Parameters
        ----------
        ties : sequence of Tie
            What to move, and to which side.
        far : bool
            Whether as far as rounding may have moved it, and not by next to nothing.
        """
        where = torch.unravel_index(torch.tensor([tie.entry for tie in ties]), self.operand.shape)
        sides = torch.tensor([tie.side for tie in ties], dtype=self.operand.dtype)
        target = self._target()[where]
        precision = torch.finfo(self.operand.dtype)
        step = (target.abs() * max(NUDGE, 2 * precision.eps)).clamp(min=max(TINY, precision.tiny))
        reach = torch.tensor([tie.reach for tie in ties], dtype=self.operand.dtype)
        step = torch.maximum(step, reach) if far else step
        if self.compete:
            step = _clear_of_rivals(ties, step, reach)
        self.operand.data[where] = target + sides * step

    def _target(self) -> torch.Tensor:
        """Return what tied entries are moved to the other side of."""
        return self.operand


@dataclass(frozen=True, eq=False)
class Boundary(Decision):
    """Each entry is compared with a limit.

    Attributes
    ----------
    limit : tensor
        One for each entry.
    """

    limit: torch.Tensor
    compete: ClassVar[bool] = False

    def kept(self) -> "Boundary":
        """Copy operand and limit."""
        return Boundary(self.operand.detach().clone(), self.limit.detach().clone())

    def margin(self) -> torch.Tensor:
        """Return the distance from the limit."""
        return self.operand - self.limit

    def same_question(self, other: Decision) -> bool:
        """Compare the limits."""
        return isinstance(other, Boundary) and torch.equal(self.limit, other.limit)

    def outcomes(self) -> list[torch.Tensor]:
        """Return what is above, and what is below."""
        return [self.operand > self.limit, self.operand < self.limit]

    def near(self, number: int, reach: torch.Tensor) -> list[Tie]:
        """Return what is within reach of its limit; what is exactly there may go to either side."""
        distance = self.margin()
        close = distance.abs() <= reach
        return _listed(number, [(close & (distance <= 0), 1), (close & (distance >= 0), -1)], reach)

    def restore(self, before: "Boundary") -> None:
        """Keep the limit, and the distance from it."""
        distance = before.margin()
        flipped = self.margin().sign() != distance.sign()
        self.operand.data[flipped] = (self.limit + distance)[flipped]

    def _target(self) -> torch.Tensor:
        return self.limit


@dataclass(frozen=True, eq=False)
class Contest(Decision):
    """The entries of a window compete to be the largest, or the smallest.

    Attributes
    ----------
    windows : integer tensor
        Rows of indices into the flattened operand; -1: none.
    side : int
        +1 where the largest wins, -1 where the smallest does.
    """

    windows: torch.Tensor
    side: int

    def kept(self) -> "Contest":
        """Copy the operand."""
        return Contest(self.operand.detach().clone(), self.windows, self.side)

    def near(self, number: int, reach: torch.Tensor) -> list[Tie]:
        """Return the entries within reach of the winner of their window."""
        values, index = self._values()
        near = reach.reshape(-1)[index]
        best, winner = values.max(dim=1, keepdim=True)
        close = (self.windows >= 0) & (values >= best - near - near.gather(1, winner))
        close &= close.sum(dim=1, keepdim=True) > 1
        return [
            Tie(number, int(index[row, column]), self.side, float(near[row, column]), row)
            for row, column in close.nonzero().tolist()
        ]

    def restore(self, before: "Contest") -> None:
        """Give all their values back in every window that another entry has won."""
        now, then = [each._values()[0].argmax(dim=1) for each in (self, before)]
        lost = self.windows[now != then]
        where = torch.unravel_index(lost[lost >= 0], self.operand.shape)
        self.operand.data[where] = before.operand[where]

    def _values(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the entries of each window, where the largest wins, and their indices."""
        index = self.windows.clamp(min=0)
        values = (self.side * self.operand.detach()).reshape(-1)[index]
        return values.masked_fill(self.windows < 0, -torch.inf), index


@dataclass(frozen=True, eq=False)
class Order(Decision):
    """The entries are sorted, or compete in a way that is not known: any two of equal value do."""

    def kept(self) -> "Order":
        """Copy the operand."""
        return Order(self.operand.detach().clone())

    def near(self, number: int, reach: torch.Tensor) -> list[Tie]:
        """Return what is within reach of another entry, wherever that stands: a superset of the true rivals."""
        values, far = self.operand.reshape(-1), reach.reshape(-1)
        order = values.argsort()
        close = values[order].diff() <= far[order][1:] + far[order][:-1]
        tied = torch.zeros(values.shape, dtype=torch.bool)
        tied[order[1:][close]] = True
        tied[order[:-1][close]] = True
        return _listed(number, [(tied, 1), (tied, -1)], reach)

    def restore(self, before: "Order") -> None:
        """Put all back where any two have changed places."""
        now, then = [each.operand.reshape(-1).argsort(stable=True) for each in (self, before)]
        if not torch.equal(now, then):
            self.operand.data.copy_(before.operand)


def _listed(number: int, sides: list[tuple[torch.Tensor, int]], reach: torch.Tensor) -> list[Tie]:
    flat = reach.reshape(-1)
    return [
        Tie(number, entry, side, float(flat[entry]))
        for mask, side in sides
        for entry in mask.reshape(-1).nonzero().reshape(-1).tolist()
    ]


def _clear_of_rivals(ties: Sequence[Tie], step: torch.Tensor, reach: torch.Tensor) -> torch.Tensor:
    """Return steps that go past all rivals, and that leave no two tied that move together."""
    met: Counter[int] = Counter()
    turns = []
    for tie in ties:
        met[tie.contest] += 1
        turns.append(met[tie.contest])
    return torch.tensor(turns) * torch.maximum(step, 4 * reach)
