"""What a change has to reproduce: all hand-derived gradients at once, the wrong ones and the right ones."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[np.float64]
SLACK = 4.0  # times the allowance of the right gradient: that of the wrong one is not measured
ROUNDINGS = 256.0  # of the largest entry: where the right gradient is zero, the wrong one still rounds
REMAINS = 0.01  # of the difference from the right gradient that an explanation may leave
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
        self.floor = epsilon * largest
        self.places = {name: self._telling(name) for name in reference}

    def likely(self, found: Mapping[str, Tensor], share: float = 1.0) -> bool:
        """Say whether a few telling entries come near, so that the others are worth a look."""
        for name, places in self.places.items():
            goal = self.goal[name][places]
            value = found[name].reshape(-1)[places].numpy() * (share if name in self.wrong else 1.0)
            if not (np.abs(value - goal) <= 1e-3 * (np.abs(value) + np.abs(goal)) + self._bound(name)[places]).all():
                return False
        return True

    def met(self, found: Mapping[str, Tensor], share: float = 1.0, leeway: float = 1.0) -> bool:
        """Say whether gradients, the wrong ones times `share`, are the hand-derived ones to rounding."""
        if not self.likely(found, share):
            return False
        for name, goal in self.goal.items():
            value = found[name].reshape(-1).numpy() * (share if name in self.wrong else 1.0)
            rest = np.abs(value - goal)
            bound = self._bound(name) + ROUNDINGS * self.epsilon * np.abs(value).max(initial=0.0)
            if not (rest <= leeway * bound).all():
                return False
            if name in self.wrong and np.linalg.norm(rest) > REMAINS * np.linalg.norm(goal - self.base[name]):
                return False
        return True

    def affected(self, found: Mapping[str, Tensor]) -> frozenset[str]:
        """Return the wrong gradients that are not autograd's in what was found."""
        return frozenset(
            name
            for name in self.wrong
            if (np.abs(found[name].reshape(-1).numpy() - self.base[name]) > self._bound(name)).any()
        )

    @np.errstate(over="ignore", invalid="ignore")  # what a change gives may be infinite: then there is no number
    def factor(self, found: Mapping[str, Tensor]) -> float | None:
        """Return the one number that makes gradients the hand-derived ones, or None."""
        one = np.concatenate([found[name].reshape(-1)[self.places[name]].numpy() for name in self.wrong])
        goal = np.concatenate([self.goal[name][self.places[name]] for name in self.wrong])
        square = float(one @ one)
        factor = float(one @ goal) / square if square > 0 else 0.0
        if factor == 0 or not np.isfinite(factor) or abs(factor - 1) < 1e-6 or one.size < 3:
            return None
        return factor if self.likely(found, factor) else None

    @np.errstate(over="ignore", invalid="ignore")  # what a change gives may be infinite: then there is no number
    def between(self, zero: Mapping[str, Tensor], one: Mapping[str, Tensor]) -> float | None:
        """Return the c that makes zero + c * (one - zero) the hand-derived gradients, or None."""
        start, step, goal = [], [], []
        for name, places in self.places.items():
            start.append(zero[name].reshape(-1)[places].numpy())
            step.append(one[name].reshape(-1)[places].numpy() - start[-1])
            goal.append(self.goal[name][places])
        way, rest = np.concatenate(step), np.concatenate(goal) - np.concatenate(start)
        square = float(way @ way)
        share = float(way @ rest) / square if square > 0 else float("nan")
        usual = min(abs(share), abs(share + 1), abs(share - 2)) < 1e-6
        if not np.isfinite(share) or np.count_nonzero(way) < (2 if usual else 5):
            return None
        return share if np.linalg.norm(rest - share * way) <= 1e-6 * np.linalg.norm(rest) + self.floor else None

    def _bound(self, name: str) -> Array:
        size = np.abs(self.goal[name]).max(initial=0.0)
        return self.allowed[name] + ROUNDINGS * self.epsilon * size + self.floor

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
