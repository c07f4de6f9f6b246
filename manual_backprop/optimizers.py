"""Gradient descent with momentum, as the assignment writes it."""

from collections.abc import Mapping

import numpy as np

from manual_backprop.arrays import Array


class Momentum:
    """Move every parameter along its velocity, in place (assignment 1.3):

        v <- momentum · v + learning_rate · gradient
        w <- w - v

    Parameters
    ----------
    parameters : mapping of arrays
        Changed in place by ``step``.
    learning_rate : float
        alpha in the assignment; may be changed between steps, and the velocity keeps its meaning.
    momentum : float
        gamma in the assignment.
    initial_velocity : float
        Every entry of every velocity before the first step. The report starts at 1e-5, not at 0.

    Attributes
    ----------
    velocity : dict with the keys and shapes of ``parameters``
    """  # noqa: D400 (the formula is the rest of the sentence)

    def __init__(
        self,
        parameters: Mapping[str, Array],
        learning_rate: float = 0.1,
        momentum: float = 0.9,
        initial_velocity: float = 1e-5,
    ) -> None:
        self.parameters = parameters
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.velocity = {name: np.full_like(value, initial_velocity) for name, value in parameters.items()}
        self._scaled_gradient = {name: np.empty_like(value) for name, value in parameters.items()}

    def step(self, gradients: Mapping[str, Array]) -> None:
        """Update the parameters once.

        Parameters
        ----------
        gradients : mapping with the keys and shapes of ``parameters``

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
        for name, gradient in gradients.items():
            # into an array of its own: a new one at every step would cost more than the update
            self.move(self.parameters[name], self.velocity[name], gradient, self._scaled_gradient[name])

    def move(self, parameter: Array, velocity: Array, gradient: Array, scaled_gradient: Array) -> None:
        """Update some entries of a parameter and of its velocity, and write over ``scaled_gradient``."""
        velocity *= self.momentum
        velocity += np.multiply(gradient, self.learning_rate, out=scaled_gradient)
        parameter -= velocity
