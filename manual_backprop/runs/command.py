"""A training command from start to results: its loop and its checkpoints."""

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from manual_backprop.data.datasets import Dataset, Split, load_dataset
from manual_backprop.history import History, Metrics
from manual_backprop.networks import Classifier
from manual_backprop.runs.configuration import Configuration, configure
from manual_backprop.runs.folder import Checkpoint, RunFolder, State
from manual_backprop.runs.interruption import Interruption
from manual_backprop.runs.process import as_process
from manual_backprop.runs.progress import progress, say, table
from manual_backprop.runs.results import measure, write_results

CHECKPOINT_SECONDS = 5.0
"""The least time between two checkpoints: writing one takes some hundredths of a second."""


class Trainer(Protocol):
    """One of the two sides, holding a network and its optimizer."""

    def epochs(self, numbers: range) -> Iterator[Sequence[tuple[float, float, float, float]]]:
        """Train these epochs and yield the `Metrics` of each, one epoch at a time or several."""

    def evaluate(self, split: Split) -> tuple[float, float]:
        """Return mean loss and accuracy."""

    def network(self) -> Classifier:
        """Return the network as it is now."""

    def state(self) -> State:
        """Return all arrays that training depends on: those of the network, and those that the optimizer keeps."""

    def steps(self) -> int:
        """Return how many updates the optimizer has made, if it needs to know."""

    def load(self, state: State, steps: int) -> None:
        """Go on from what `state` and `steps` returned."""


MakeTrainer = Callable[[argparse.Namespace, Configuration, Dataset], Trainer]
"""Makes a trainer, with the initial network, or raises ValueError if the machine is not up to it."""


def main(parser: argparse.ArgumentParser, make_trainer: MakeTrainer, arguments: list[str] | None = None) -> int:
    """Run a training command, as the whole of its process, and return its exit status, as `as_process` has them."""
    return as_process(lambda: _run(parser.parse_args(arguments), make_trainer))


def _run(options: argparse.Namespace, make_trainer: MakeTrainer) -> int:
    dataset = load_dataset(options.data, options.split)
    if not options.quiet:
        sizes = f"{len(dataset.train)} to train on, {len(dataset.valid)} to validate, {len(dataset.test)} to test"
        say(f"{dataset.source}: {sizes}")
    configuration = configure(options, dataset)
    trainer = make_trainer(options, configuration, dataset)
    folder = RunFolder(options.out)
    history = _resume(trainer, folder, configuration, options.epochs) if options.resume else History()

    def save_checkpoint() -> None:
        folder.save_checkpoint(Checkpoint(trainer.state(), trainer.steps(), history, configuration))

    with folder.opened(), Interruption(options.quiet) as interruption:
        save_checkpoint()
        if len(history) == 0:
            folder.remove_results()
        try:
            _train(trainer, history, options, interruption, save_checkpoint)
            save_checkpoint()
        finally:
            history.write_csv(options.out / "history.csv")
        measured = measure(trainer.evaluate, dataset, len(history))
        write_results(folder, configuration, trainer.network(), history, measured, dataset)
    if not options.quiet:
        say(table(measured))
        reached = f"{'interrupted after ' if interruption.status else ''}{len(history)} epochs"
        say(f"{reached}; the results are in {options.out}")
    return interruption.status


def _resume(trainer: Trainer, folder: RunFolder, configuration: Configuration, epochs: int) -> History:
    """Put the trainer where an earlier run stopped; return the history so far."""
    checkpoint = folder.load_checkpoint(configuration, trainer.state(), type(trainer.network()))
    if len(checkpoint.history) > epochs:
        raise ValueError(f"--epochs {epochs}: the run in {folder.path} has {len(checkpoint.history)} already")
    trainer.load(checkpoint.state, checkpoint.steps)
    return checkpoint.history


def _train(
    trainer: Trainer,
    history: History,
    options: argparse.Namespace,
    interruption: Interruption,
    save_checkpoint: Callable[[], None],
) -> None:
    """Train to the last epoch or to the end of the one in which an interruption came."""
    before = history.seconds[-1] if len(history) else 0
    start = time.perf_counter() - before
    saved = time.perf_counter()
    with progress(options.epochs, len(history), options.quiet) as show:
        for several in trainer.epochs(range(len(history), options.epochs)):
            now = time.perf_counter() - start
            for number, metrics in enumerate(several, start=1):  # each took its share of the time
                history.append(Metrics(*metrics), before + (now - before) * number / len(several))
                show(history)
            before = now
            if interruption.status:
                break
            if time.perf_counter() - saved > CHECKPOINT_SECONDS:
                save_checkpoint()
                saved = time.perf_counter()
