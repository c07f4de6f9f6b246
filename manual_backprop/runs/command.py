"""What both training commands share: options, the run from start to results, and what people see of it."""

import argparse
import math
import os
import time
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Protocol

import numpy as np

from manual_backprop.arrays import Array
from manual_backprop.data.datasets import Dataset, Split, load_dataset
from manual_backprop.history import DivergenceError, History, Metrics
from manual_backprop.networks.mlp import MLP
from manual_backprop.optimizers import Momentum
from manual_backprop.runs.folder import Checkpoint, RunFolder, State
from manual_backprop.runs.interruption import Interruption
from manual_backprop.runs.pictures import draw_curves, draw_hidden_units, draw_mistakes
from manual_backprop.runs.process import as_process, versions
from manual_backprop.runs.progress import progress, say, table

CHECKPOINT_SECONDS = 5.0
"""Where epochs are shorter than this, several share a checkpoint: writing one takes some hundredths of a second."""

WITHOUT_EFFECT = ("epochs", "out", "resume", "quiet")
"""The options that a resumed run may have otherwise: the number of epochs may grow."""


class Trainer(Protocol):
    """One of the two sides, holding a network and its optimizer."""

    def epochs(self, numbers: range) -> Iterator[Sequence[tuple[float, float, float, float]]]:
        """Train these epochs and yield the ``Metrics`` of each, one epoch at a time or several."""

    def evaluate(self, split: Split) -> tuple[float, float]:
        """Return mean loss and accuracy."""

    def parameters(self) -> Mapping[str, Array]:
        """Return the weights as (in, out) and the biases."""

    def state(self) -> State:
        """Return the parameters and what the optimizer remembers of them, as this side keeps it, in their shapes."""

    def steps(self) -> int:
        """Return how many updates the optimizer has made, where it needs to know."""


MakeTrainer = Callable[[argparse.Namespace, Dataset, MLP, Checkpoint | None], Trainer]
"""Makes a trainer of the options, the data, the initial network and the checkpoint to go on from, if there is one."""


def main(parser: argparse.ArgumentParser, make_trainer: MakeTrainer, argv: list[str] | None = None) -> int:
    """Run a training command, as the whole of its process, and return its exit status, as `as_process` has them."""
    return as_process(lambda: _run(parser.parse_args(argv), make_trainer))


def _run(options: argparse.Namespace, make_trainer: MakeTrainer) -> int:
    dataset = load_dataset(options.data, options.split)
    if not options.quiet:
        sizes = f"{len(dataset.train)} to train on, {len(dataset.valid)} to validate, {len(dataset.test)} to test"
        say(f"{dataset.source}: {sizes}")
    configuration = _configuration(options, dataset)
    _check_memory(configuration)
    folder = RunFolder(options.out)
    initial = _initial_network(configuration)
    checkpoint = None
    if options.resume:
        kinds = ("parameters", *Momentum.kinds)
        checkpoint = folder.load_checkpoint(configuration, dict.fromkeys(kinds, initial.parameters))
        if len(checkpoint.history) > options.epochs:
            raise ValueError(
                f"--epochs {options.epochs}: the run in {options.out} has {len(checkpoint.history)} already"
            )
    history = checkpoint.history if checkpoint else History()
    trainer = make_trainer(options, dataset, initial, checkpoint)

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
        metrics = _measure(trainer, dataset, history)
        _write_results(folder, trainer.parameters(), _initial_network(configuration), history, dataset)
        folder.write_summary(
            {
                "configuration": configuration | {"epochs": len(history)},
                "versions": versions(),
                "metrics": _plain(metrics),
                "throughput": {
                    "epochs_per_second": len(history) / history.seconds[-1],
                    "examples_per_second": len(history) / history.seconds[-1] * len(dataset.train),
                },
            }
        )
    if not options.quiet:
        say(table(metrics))
        reached = f"{'interrupted after ' if interruption.status else ''}{len(history)} epochs"
        say(f"{reached}; the results are in {options.out}")
    return interruption.status


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


def _measure(trainer: Trainer, dataset: Dataset, history: History) -> dict[str, tuple[float, float]]:
    """Return mean loss and accuracy of each set with the final weights."""
    splits = {"train": dataset.train, "valid": dataset.valid, "test": dataset.test}
    with np.errstate(over="ignore", invalid="ignore"):
        metrics = {name: trainer.evaluate(split) for name, split in splits.items()}
    for name, (loss, _) in metrics.items():
        if len(splits[name]) and not math.isfinite(loss):
            raise DivergenceError(
                f"the {name} loss is {loss} after epoch {len(history)}: the learning rate is likely too high"
            )
    return metrics


def _write_results(
    folder: RunFolder, parameters: Mapping[str, Array], initial: MLP, history: History, dataset: Dataset
) -> None:
    MLP(parameters).save(folder.weights_path)
    draw_curves(folder.path / "curves.png", history)
    weight, initial_weight = parameters["layers.0.weight"], initial.parameters["layers.0.weight"]
    if dataset.image_shape is None:
        return
    draw_hidden_units(folder.path / "hidden_units.png", weight, initial_weight, dataset.image_shape)
    held_out = next(split for split in (dataset.test, dataset.valid, dataset.train) if len(split))
    draw_mistakes(folder.path / "mistakes.png", held_out, MLP(parameters).predict_proba(held_out.images), dataset)


def _initial_network(configuration: Mapping[str, Any]) -> MLP:
    return MLP.xavier(configuration["sizes"], configuration["seed"], configuration["dtype"])


def _plain(metrics: Mapping[str, tuple[float, float]]) -> dict[str, float | None]:
    """Return the metrics under one name each; those of an empty set are None, since JSON has no NaN."""
    return {
        f"{name}_{kind}": None if math.isnan(value) else value
        for name, pair in metrics.items()
        for kind, value in zip(("loss", "accuracy"), pair, strict=True)
    }


def _configuration(options: argparse.Namespace, dataset: Dataset) -> dict[str, Any]:
    """Return what decides the outcome of a run, apart from the number of epochs."""
    chosen = {name: value for name, value in vars(options).items() if name not in WITHOUT_EFFECT}
    return (
        {"side": options.side}
        | chosen
        | {
            "data": dataset.source,
            "data_crc32": _checksum(dataset),
            "split": [len(dataset.train), len(dataset.valid), len(dataset.test)],
            "sizes": [dataset.features, *options.hidden, dataset.classes],
        }
    )


def _checksum(dataset: Dataset) -> int:
    """Tell data of one name and size apart, so that no run goes on with other images."""
    checksum = 0
    for split in (dataset.train, dataset.valid, dataset.test):
        checksum = zlib.crc32(split.labels.tobytes(), checksum)
        for start in range(0, len(split), 1000):  # they may be more than memory holds
            checksum = zlib.crc32(split.images[start : start + 1000].tobytes(), checksum)
    return checksum


def _check_memory(configuration: Mapping[str, Any]) -> None:
    """Refuse what cannot fit: the system would end the run without a word."""
    sizes = configuration["sizes"]
    numbers = 10 * sum((fan_in + 1) * fan_out for fan_in, fan_out in pairwise(sizes))  # while a checkpoint is written
    if configuration["side"] == "torch" and not configuration["cuda"]:  # it has no bytes, but numbers for its pixels
        machines = int(os.environ.get("GROUP_WORLD_SIZE", 1))  # torchrun's: each has its share of them
        numbers += sum(configuration["split"][:2]) * sizes[0] // machines
    needed = numbers * np.dtype(configuration["dtype"]).itemsize
    available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > available:
        raise ValueError(
            f"--hidden, --data: this takes {needed / 2**30:.0f} GiB, the machine has {available / 2**30:.0f} GiB"
        )
