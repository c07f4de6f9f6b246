"""When to stop training, and which weights to keep: those with the least loss so far."""

from collections.abc import Mapping

from manual_backprop.arrays import Array


class EarlyStopping:
    """Keeps the weights that had the least loss, and says when there was no better one for too long.

    Parameters
    ----------
    state : mapping of arrays
        What training changes: parameters and buffers.
    patience : int
        How many epochs in a row may go by without a better loss.
    tolerance : float
        A loss is better if it is lower by more than this.

    Source: L. Prechelt, Early Stopping - But When?, 1998.
    """

    def __init__(self, state: Mapping[str, Array], patience: int, tolerance: float = 0.0) -> None:
        if patience < 1:
            raise ValueError(f"early stopping: expected a patience of 1 epoch or more, got {patience}")
        self.state, self.patience, self.tolerance = state, patience, tolerance
        self.least = float("inf")
        self.waited = 0
        self._best: dict[str, Array] = {}

    def after(self, loss: float) -> bool:
        """Take the loss of the weights as they are now, and return whether to stop."""
        if loss < self.least - self.tolerance:
            self.waited = 0
        else:
            self.waited += 1
        if loss < self.least:
            self.least = loss
            self._best = {name: value.copy() for name, value in self.state.items()}
        return self.waited >= self.patience

    def restore(self) -> None:
        """Put the best weights back, in place."""
        for name, value in self._best.items():
            self.state[name][...] = value
