"""The curves of a training: loss and accuracy by epoch."""

from base64 import b64encode
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

if TYPE_CHECKING:  # a history shows its curves
    from manual_backprop.history import History


def curves(history: "History") -> Figure:
    """Return loss (left) and accuracy (right) by epoch, of training and validation."""
    figure = Figure(figsize=(11, 4), layout="constrained")
    epochs = np.arange(1, len(history) + 1)
    for axes, kind in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for name, label in (("train", "training"), ("valid", "validation")):
            values = getattr(history, f"{name}_{kind}")
            if not np.isnan(values).all():
                axes.plot(epochs, values, label=label, marker="." if len(history) == 1 else None)
        axes.set(xlabel="epoch", ylabel=kind, title=kind.capitalize())
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend()
    return figure


def curves_html(history: "History") -> str:
    """Return the curves as an image for a notebook, with the last numbers in words."""
    if not len(history):
        return "<p>No epoch has been trained.</p>"
    buffer = BytesIO()
    curves(history).savefig(buffer, format="png", dpi=90)
    words = (
        f"{len(history)} epochs; training loss {history.train_loss[-1]:.4g}, accuracy {history.train_accuracy[-1]:.4f}"
    )
    if not np.isnan(history.valid_loss[-1]):
        words += f"; validation loss {history.valid_loss[-1]:.4g}, accuracy {history.valid_accuracy[-1]:.4f}"
    image = f'<img style="background: white; max-width: 100%" alt="Loss and accuracy by epoch: {words}" '
    return (
        f'<figure>{image}src="data:image/png;base64,{b64encode(buffer.getvalue()).decode()}">'
        f"<figcaption>{words}</figcaption></figure>"
    )
