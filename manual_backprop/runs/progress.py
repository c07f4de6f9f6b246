"""What people see of a training run."""

import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from tqdm import tqdm

from manual_backprop.history import History


def say(text: str) -> None:
    """Print; if nobody reads any more (`| head`), or the disk is full, go on without: training matters more."""
    try:
        print(text, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def progress(epochs: int, done: int, quiet: bool) -> Iterator[Callable[[History], None]]:
    """Show a bar in a terminal, a line every few epochs elsewhere, nothing if quiet.

    Parameters
    ----------
    epochs : when the run is finished
    done : epochs that an earlier run trained
    quiet : show nothing

    Yields
    ------
    show
        To be called after each epoch.
    """
    in_terminal = sys.stderr is not None and sys.stderr.isatty()
    with tqdm(total=epochs, initial=done, unit="epoch", disable=quiet or not in_terminal) as bar:

        def show(history: History) -> None:
            epoch, loss, accuracy = len(history), history.train_loss[-1], history.train_accuracy[-1]
            bar.set_postfix_str(f"loss {loss:.4f}, accuracy {accuracy:.4f}", refresh=False)
            bar.update()
            if not (in_terminal or quiet) and (epoch % math.ceil(epochs / 10) == 0 or epoch == 1):
                say(
                    f"epoch {epoch}/{epochs}: loss {loss:.4f}, accuracy {accuracy:.4f}, "
                    f"validation loss {history.valid_loss[-1]:.4f}, accuracy {history.valid_accuracy[-1]:.4f}"
                )

        yield show


def table(metrics: Mapping[str, tuple[float, float]]) -> str:
    """Return the final loss and accuracy of each set as lines for people."""
    names = {"train": "train", "valid": "validation", "test": "test"}
    lines = [f"{'':12}{'accuracy':>10}{'loss':>10}"]
    lines += [f"{names[name]:12}{accuracy:10.4f}{loss:10.4f}" for name, (loss, accuracy) in metrics.items()]
    return "\n".join(lines)
