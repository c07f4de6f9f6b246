"""Gradient descent with momentum, as the assignment writes it."""

from collections.abc import Mapping

import numpy as np

from manual_backprop.arrays import Array
from manual_backprop.optimizers.optimizer import Optimizer


class Momentum(Optimizer):
    """Move every parameter along its velocity, in place (assignment 1.3):

        v <- momentum · v + learning_rate · gradient
        w <- w - v

    Parameters
    ----------
    parameters : mapping of arrays
        Changed in place by `step`.
    learning_rate : float
        alpha in the assignment; may be changed between steps, and the velocity keeps its meaning.
    momentum : float
        gamma in the assignment.
    initial_velocity : float
        Every entry of every velocity before the first step. The report starts at 1e-5, not at 0.
    """  # noqa: D400 (the formula is the rest of the sentence)

    kinds = ("velocity",)

    def __init__(
        self,
        parameters: Mapping[str, Array],
        learning_rate: float = 0.1,
        momentum: float = 0.9,
        initial_velocity: float = 1e-5,
    ) -> None:
        super().__init__(parameters, learning_rate, initial_velocity)
        self.momentum = momentum

    @property
    def velocity(self) -> dict[str, Array]:
        """The velocities, under the names of `parameters`."""
        return self.state["velocity"]

    def _move(
        self, _name: str, parameter: Array, gradient: Array, state: Mapping[str, Array], _step: int, scratch: Array
    ) -> None:
        velocity = state["velocity"]
        velocity *= self.momentum
        velocity += np.multiply(gradient, self.learning_rate, out=scratch)
        parameter -= velocity
