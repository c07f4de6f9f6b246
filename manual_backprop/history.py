"""What training measures, epoch by epoch."""

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from manual_backprop.storage.files import replacing


class Metrics(NamedTuple):
    """The measurements of one epoch; those of an empty validation set are NaN.

    Training loss and accuracy are means over the epoch's examples, each seen with the weights of its batch. Validation
    is measured with the weights of the last batch. With the full batch, as in the report, that is one set of weights:
    those before the epoch's only update.
    """

    train_loss: float
    train_accuracy: float
    valid_loss: float
    valid_accuracy: float


class DivergenceError(ArithmeticError):
    """Training left the finite numbers."""


@dataclass
class History:
    """One list for each measurement, one entry for each epoch; `seconds` counts from the start of training."""

    train_loss: list[float] = field(default_factory=list)
    train_accuracy: list[float] = field(default_factory=list)
    valid_loss: list[float] = field(default_factory=list)
    valid_accuracy: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    def __len__(self) -> int:
        """Return the number of epochs."""
        return len(self.seconds)

    def append(self, metrics: Metrics, seconds: float) -> None:
        """Add an epoch.

        Raises
        ------
        DivergenceError
            If a loss is no longer finite; the epoch is not added.
        """
        losses = {"training": metrics.train_loss}
        if not math.isnan(metrics.valid_accuracy):  # as it is for an empty set
            losses["validation"] = metrics.valid_loss
        for name, loss in losses.items():
            if not math.isfinite(loss):
                raise DivergenceError(
                    f"the {name} loss became {loss} in epoch {len(self) + 1}: the learning rate is likely too high"
                )
        for name, value in metrics._asdict().items():
            getattr(self, name).append(value)
        self.seconds.append(seconds)

    def _repr_html_(self) -> str:
        """Return what a notebook shows: the curves."""
        from manual_backprop.curves import curves_html  # loads matplotlib, which training never needs

        return curves_html(self)

    def rows(self) -> Iterator[tuple[float, ...]]:
        """Yield (train_loss, train_accuracy, valid_loss, valid_accuracy, seconds) of each epoch."""
        return zip(
            self.train_loss, self.train_accuracy, self.valid_loss, self.valid_accuracy, self.seconds, strict=True
        )

    def write_csv(self, path: Path) -> None:
        """Write one row for each epoch, counted from 1, every number in full precision."""
        with replacing(path) as temporary, temporary.open("w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["epoch", *Metrics._fields, "seconds"])
            writer.writerows((epoch, *row) for epoch, row in enumerate(self.rows(), start=1))
