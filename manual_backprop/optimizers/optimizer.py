"""What all optimizers have in common: state under the parameters' names, and updates in place."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import ClassVar

import numpy as np

from manual_backprop.arrays import Array

# Entries that are updated at a time: an update passes over its arrays several times, so they should be near by then.
BLOCK = 16_384


class Optimizer(ABC):
    """Updates of named parameters, in place.

    Parameters
    ----------
    parameters : mapping of arrays
        Changed in place by `step`.
    learning_rate : float
        May be changed between steps.
    initial : float
        Every entry of the state before the first step.

    Attributes
    ----------
    state : dict of dicts
        `state[kind][name]` is what is remembered of a parameter, in its shape. With `steps`, all that later updates
        depend on.
    steps : int
        How many steps were taken.
    """

    kinds: ClassVar[tuple[str, ...]]
    """The keys of `state`."""

    def __init__(self, parameters: Mapping[str, Array], learning_rate: float, initial: float = 0.0) -> None:
        self.parameters = parameters
        self.learning_rate = learning_rate
        self.steps = 0
        self.state = {
            kind: {name: np.full_like(value, initial) for name, value in parameters.items()} for kind in self.kinds
        }
        self._scratch = self.scratch()

    def step(self, gradients: Mapping[str, Array]) -> None:
        """Update the parameters once.

        Parameters
        ----------
        gradients : mapping with the keys and shapes of `parameters`

        Raises
        ------
        ValueError
            If the keys or a shape differ; nothing has been changed then.
        """
        if gradients.keys() != self.parameters.keys():
            raise ValueError(f"gradients: expected {', '.join(self.parameters)}, got {', '.join(gradients)}")
        for name, gradient in gradients.items():
            if gradient.shape != self.parameters[name].shape:
                raise ValueError(f"{name}: gradient {gradient.shape}, but parameter {self.parameters[name].shape}")
        self.steps += 1
        for name, gradient in gradients.items():
            state = {kind: self.state[kind][name] for kind in self.kinds}
            self.update(name, self.parameters[name], gradient, state, self.steps, self._scratch)

    def update(
        self,
        name: str,
        parameter: Array,
        gradient: Array,
        state: Mapping[str, Array],
        step: int,
        scratch: Array,
    ) -> None:
        """Update some entries of one parameter, or a copy of them; several threads may update different ones.

        Parameters
        ----------
        name : whose entries they are
        parameter, gradient : of one shape
        state : for each of `kinds` the same entries of `state[kind][name]`
        step : which step this is, the first is 1
        scratch : what `scratch` returned, of each thread its own; as many entries as it has are updated at a time.
            Or the gradient itself, flat, where nobody needs it any more: an array less in the caches.
        """
        if parameter.size <= len(scratch):
            self._move(name, parameter, gradient, state, step, scratch[: parameter.size].reshape(parameter.shape))
            return
        for rows in _blocks(parameter.shape, len(scratch)):
            block = parameter[rows]
            part = scratch[: block.size].reshape(block.shape)
            self._move(name, block, gradient[rows], {kind: value[rows] for kind, value in state.items()}, step, part)

    def scratch(self, entries: int = BLOCK) -> Array:
        """Return an array for one thread's calls of `update` to write over, of a row at least."""
        longest_row = max((math.prod(value.shape[1:]) for value in self.parameters.values()), default=0)
        dtype = np.result_type(*self.parameters.values()) if self.parameters else np.float64
        return np.empty(max(entries, longest_row), dtype)

    @abstractmethod
    def _move(
        self, name: str, parameter: Array, gradient: Array, state: Mapping[str, Array], step: int, scratch: Array
    ) -> None:
        """Update a block of entries; `scratch` has its shape, `gradient` stays as it is unless it is `scratch`."""


def _blocks(shape: tuple[int, ...], entries: int) -> Iterator[slice]:
    """Cut an array into blocks of whole rows, of so many entries at most where a row has no more."""
    rows = max(1, entries // max(1, math.prod(shape[1:])))
    return (slice(start, start + rows) for start in range(0, shape[0], rows))
