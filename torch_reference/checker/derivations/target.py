"""What a change has to reproduce: all hand-derived gradients at once, the wrong ones and the right ones."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from torch_reference.checker.formats import FLOAT32

Array = NDArray[np.float64]
SLACK = 4.0  # times the allowance of the right gradient: that of the wrong one is not measured
ROUNDINGS = 256.0  # of the largest entry: where the right gradient is zero, the wrong one still rounds
REMAINS = 0.01  # of the difference from the right gradient that an explanation may leave
MOST = 0.1  # the same where rounding is a large part of it
SAMPLE = 64  # entries that are looked at first


class Target:
    """The hand-derived gradients beside autograd's.

    Parameters
    ----------
    manual, reference, allowed : mapping of str to float64 array
        The gradient under test, autograd's, and the difference that rounding explains.
    wrong : collection of str
        The names of those that are wrong.
    epsilon : float
        Machine epsilon that the gradients are held to.
    """

    def __init__(
        self,
        manual: Mapping[str, Array],
        reference: Mapping[str, Array],
        allowed: Mapping[str, Array],
        wrong: list[str],
        epsilon: float,
    ) -> None:
        self.wrong, self.epsilon = wrong, epsilon
        self.goal = {name: (manual if name in wrong else reference)[name].reshape(-1) for name in reference}
        self.base = {name: value.reshape(-1) for name, value in reference.items()}
        self.allowed = {name: SLACK * allowed[name].reshape(-1) for name in reference}
        largest = max((float(np.abs(value).max(initial=0.0)) for value in self.goal.values()), default=0.0)
        self.inside = min(epsilon, FLOAT32.epsilon)  # kernels compute in float32 and round what they store
        self.floor = self.inside * largest
        self.places = {name: torch.from_numpy(self._telling(name)) for name in reference}
        self.tell = self._told({name: torch.from_numpy(self.goal[name]) for name in reference})
        self.near = self._told({name: torch.from_numpy(self._bound(name)) for name in reference})
        self.near += max(1e-3, epsilon) * np.abs(self.tell)

    def matched(self, found: Mapping[str, Tensor]) -> float | None:
        """Return the number that brings a few telling entries near the wrong gradients, 1 if any may; None if none."""
        told = self._told(found)
        if self._near(told):
            return 1.0
        square = float(told @ told)
        if not square > 0 or told.size < 3:
            return None
        factor = float(told @ self.tell) / square
        if factor == 0 or not np.isfinite(factor) or abs(factor - 1) < self.epsilon:
            return None
        return factor if self._near(factor * told) else None

    def met(self, found: Mapping[str, Tensor], share: float = 1.0, leeway: float = 1.0) -> bool:
        """Say whether gradients, the wrong ones times `share`, are the hand-derived ones to rounding."""
        for name, goal in self.goal.items():
            value = found[name].reshape(-1).numpy() * (share if name in self.wrong else 1.0)
            rest = np.abs(value - goal)
            bound = self._bound(name) + ROUNDINGS * self.inside * np.abs(value).max(initial=0.0)
            if not (rest <= leeway * bound).all():
                return False
            if name in self.wrong and not self._explains(name, rest):
                return False
        return True

    def affected(self, found: Mapping[str, Tensor]) -> frozenset[str]:
        """Return the wrong gradients that are not autograd's in what was found."""
        return frozenset(
            name
            for name in self.wrong
            if (np.abs(found[name].reshape(-1).numpy() - self.base[name]) > self._bound(name)).any()
        )

    def between(self, zero: Mapping[str, Tensor], one: Mapping[str, Tensor]) -> float | None:
        """Return the c that makes zero + c * (one - zero) the hand-derived gradients, or None."""
        start = self._told(zero)
        way, rest = self._told(one) - start, self.tell - start
        square = float(way @ way)
        share = float(way @ rest) / square if square > 0 else float("nan")
        whole = next((usual for usual in (0.0, -1.0, 2.0) if abs(share - usual) < max(1e-6, self.epsilon)), None)
        if not np.isfinite(share) or np.count_nonzero(way) < (5 if whole is None else 2):
            return None
        share = share if whole is None else whole
        left = 1e-6 * np.linalg.norm(rest) + self.epsilon * np.linalg.norm(self.tell) + self.floor
        return share if np.linalg.norm(rest - share * way) <= left else None

    def _told(self, found: Mapping[str, Tensor]) -> Array:
        """Return the telling entries of the wrong gradients."""
        told = [found[name].reshape(-1)[self.places[name]] for name in self.wrong]
        return np.asarray(torch.cat([torch.zeros(0), *told]).numpy(), dtype=np.float64)

    def _near(self, told: Array) -> bool:
        return bool((np.abs(told - self.tell) <= self.near).all())

    def _bound(self, name: str) -> Array:
        size = np.abs(self.goal[name]).max(initial=0.0)
        return self.allowed[name] + ROUNDINGS * self.inside * size + self.floor + self.epsilon * np.abs(self.goal[name])

    def _explains(self, name: str, rest: Array) -> bool:
        """Say whether little of the difference is left, beside the rounding of what was returned.

        In units of rounding, too: where that is coarse, small entries may be all that tells.
        """
        difference, size = self.goal[name] - self.base[name], self.epsilon * self.goal[name]
        return any(
            np.linalg.norm(rest / unit)
            <= min(
                REMAINS * np.linalg.norm(difference / unit) + np.linalg.norm(size / unit),
                MOST * np.linalg.norm(difference / unit),
            )
            for unit in (1.0, self._bound(name))
        )

    def _telling(self, name: str) -> NDArray[np.intp]:
        """Return the entries that differ most from the right gradient, and the largest ones."""
        difference = np.abs(np.nan_to_num(self.goal[name] - self.base[name]))
        size = np.abs(np.nan_to_num(self.goal[name]))
        count = min(SAMPLE // 2, size.size)
        return np.unique(
            np.concatenate([np.argpartition(-values, count - 1)[:count] for values in (difference, size)])
            if count
            else np.zeros(0, dtype=np.intp)
        )
