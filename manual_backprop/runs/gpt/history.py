"""What training a GPT measures, step by step."""

import csv
import math
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from manual_backprop.arrays import Array
from manual_backprop.history import DivergenceError
from manual_backprop.storage.files import replacing


@dataclass
class StepHistory:
    """One entry for each step: the loss of its batch before it, the validation loss after it, or NaN, and seconds."""

    train_loss: list[float] = field(default_factory=list)
    valid_loss: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        """Return the number of steps."""
        return len(self.seconds)

    def append(self, train_loss: float, valid_loss: float, seconds: float) -> None:
        """Add a step.

        Raises
        ------
        DivergenceError
            If the loss is no longer finite; the step is not added.
        """
        if not math.isfinite(train_loss) or math.isinf(valid_loss):
            raise DivergenceError(
                f"the loss became {train_loss} in step {len(self) + 1}: the learning rate is likely too high"
            )
        self.train_loss.append(train_loss)
        self.valid_loss.append(valid_loss)
        self.seconds.append(seconds)

    def to_array(self) -> Array:
        """Return the rows (steps, 3) in full precision."""
        return np.array([self.train_loss, self.valid_loss, self.seconds], np.float64).T

    @classmethod
    def from_array(cls, rows: Array) -> "StepHistory":
        """Return the history whose rows `to_array` gave."""
        return cls(*rows.T.tolist())

    def write_csv(self, path: Path) -> None:
        """Write a row for each step, counted from 1; the validation loss is empty where it was not measured."""
        with replacing(path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["step", "train_loss", "valid_loss", "seconds"])
            for step, (train, valid, seconds) in enumerate(self.to_array().tolist(), start=1):
                writer.writerow([step, train, "" if math.isnan(valid) else valid, seconds])

    def draw(self, path: Path) -> None:
        """Draw the losses by step."""
        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.subplots()
        steps = np.arange(1, len(self) + 1)
        axes.plot(steps, self.train_loss, label="training, each step's batch", linewidth=0.8)
        measured = np.isfinite(self.valid_loss)
        axes.plot(steps[measured], np.array(self.valid_loss)[measured], label="validation", marker="o")
        axes.set(xlabel="step", ylabel="loss of a character (nats)")
        axes.grid(alpha=0.3)
        axes.legend()
        with replacing(path) as temporary:
            figure.savefig(temporary, dpi=110)
