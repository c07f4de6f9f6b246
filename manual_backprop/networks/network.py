"""What every network can do: give its gradient, be saved and loaded; and what one that tells classes apart can."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from manual_backprop.arrays import Array, Targets
from manual_backprop.layers import cross_entropy, softmax
from manual_backprop.storage.weights import load_weights, save_weights


class Network(ABC):
    """A function of an input and of its parameters, with the gradient of its loss.

    Attributes
    ----------
    parameters : dict of arrays
        What an optimizer trains, under the names that PyTorch's `state_dict` gives them.
    buffers : dict of arrays
        What training keeps beside them, such as running statistics; a saved network needs both.
    """

    parameters: dict[str, Array]
    buffers: dict[str, Array]

    @staticmethod
    @abstractmethod
    def is_linear(name: str) -> bool:
        """Return whether this parameter is the weight of a `linear`, (in, out) here and (out, in) in PyTorch."""

    @abstractmethod
    def __call__(self, x: ArrayLike) -> Array:
        """Return the logits of an input."""

    @abstractmethod
    def backprop(self, x: ArrayLike, targets: Targets) -> tuple[float, dict[str, Array]]:
        """Return the mean loss and its gradient for every parameter."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write parameters and buffers to a safetensors file, in PyTorch's orientation.

        Raises
        ------
        OSError
            If the file cannot be written; an earlier one is kept.
        """
        save_weights(Path(path), {**self.parameters, **self.buffers}, self.is_linear, self._metadata())

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Self:
        """Read a network that `save` wrote.

        Raises
        ------
        OSError
            If there is no such file.
        ValueError
            If it is damaged, or holds anything but such a network in finite float32 or float64 numbers.
        """
        state, metadata = load_weights(Path(path), cls.is_linear)
        try:
            return cls._of(state, metadata)
        except ValueError as error:
            raise ValueError(f"{path}: not the parameters of such a network: {error}") from error

    def _metadata(self) -> str:
        """Return what its arrays do not tell of it."""
        return ""

    @classmethod
    def _of(cls, state: dict[str, Array], _metadata: str) -> Self:
        """Return the network of such arrays."""
        return cls(state)  # type: ignore[call-arg] # it needs no more


class Classifier(Network):
    """A network that tells classes apart."""

    prediction_rows: ClassVar[int] = 1000
    """Rows that are predicted at a time, so that memory does not grow with their number."""

    @abstractmethod
    def __call__(self, x: ArrayLike) -> Array:
        """Return the logits (N, K) of rows `x` (N, F), as prediction wants them."""

    @abstractmethod
    def logits_and_gradients(
        self, x: ArrayLike, targets: Targets, keep: NDArray[np.bool_] | None = None
    ) -> tuple[Array, dict[str, Array]]:
        """Return the logits as training sees them, and the gradients of `backprop`."""

    def backprop(
        self, x: ArrayLike, targets: Targets, keep: NDArray[np.bool_] | None = None
    ) -> tuple[float, dict[str, Array]]:
        """Return the mean loss over the batch and its gradient for every parameter (assignment 1.2, `backprop`).

        Parameters
        ----------
        x : (N, F), as in `__call__`
        targets : integer labels (N,) or rows of probabilities (N, K)
        keep : bool (N, H), which hidden units are kept, as `draw_keep` draws it; None for all, undivided

        Returns
        -------
        loss : float
        gradients : dict with the keys and shapes of `parameters`

        Raises
        ------
        ValueError
            If an argument has a shape or a label that the network cannot take.
        """
        logits, gradients = self.logits_and_gradients(x, targets, keep)
        return float(cross_entropy(logits, targets)), gradients

    def draw_keep(self, _count: int, _rng: np.random.Generator) -> NDArray[np.bool_] | None:
        """Draw which hidden units of `count` examples are kept; None without dropout."""
        return None

    def predict(self, x: ArrayLike) -> NDArray[np.int64]:
        """Return the most probable class of each row (N,)."""
        return np.concatenate([logits.argmax(axis=1) for logits in self._logits(x)])

    def predict_proba(self, x: ArrayLike) -> Array:
        """Return the probability of each class (N, K)."""
        return np.concatenate([softmax(logits) for logits in self._logits(x)])

    def _logits(self, x: Any) -> Iterator[Array]:
        rows = x if hasattr(x, "__array__") else np.asarray(x)
        starts = range(0, max(len(rows), 1), self.prediction_rows)  # no rows make one block of none
        return (self(rows[start : start + self.prediction_rows]) for start in starts)
