"""The folder of one training run: its lock, its checkpoint and its results."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from filelock import FileLock, Timeout

from manual_backprop.arrays import Array
from manual_backprop.history import DivergenceError, History, Metrics
from manual_backprop.networks import Classifier
from manual_backprop.storage.files import replacing
from manual_backprop.storage.weights import load_arrays, save_arrays

RESULTS = ("history.csv", "curves.png", "hidden_units.png", "mistakes.png", "weights.safetensors", "summary.json")

State = Mapping[str, Mapping[str, Array]]
"""`state[kind][name]`; the kinds are "parameters", "buffers" and those that the optimizer keeps."""


@dataclass(frozen=True)
class Checkpoint:
    """All that a run needs to go on: with equal configurations it ends in the same bits as without a break."""

    state: State
    steps: int
    history: History
    configuration: Mapping[str, Any]


class RunFolder:
    """The files of one run.

    Parameters
    ----------
    path : the folder; made, with those above it, when the run is opened
    """

    results: ClassVar[tuple[str, ...]] = RESULTS

    def __init__(self, path: Path) -> None:
        self.path = path
        self.checkpoint_path = path / "checkpoint.safetensors"
        self.weights_path = path / "weights.safetensors"

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Hold the folder for this run alone.

        Raises
        ------
        ValueError
            If the path is a file, or another run holds the folder.
        OSError
            If the folder cannot be written.
        """
        if self.path.exists() and not self.path.is_dir():
            raise ValueError(f"--out {self.path}: is a file; give a folder")
        self.path.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / ".lock", timeout=0)
        try:
            lock.acquire()
        except Timeout as error:
            raise ValueError(f"--out {self.path}: another run is writing there; wait for it or give another") from error
        try:
            for leftover in self.path.glob(".*.partial.*"):  # of a run that was killed while it wrote
                leftover.unlink()
            yield
        finally:
            lock.release()

    def remove_results(self) -> None:
        """Remove what an earlier run left, so that no file of it can be taken for this run's."""
        for name in self.results:
            (self.path / name).unlink(missing_ok=True)

    def save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Replace the checkpoint by a newer one.

        Raises
        ------
        DivergenceError
            If a number in it is not finite; the earlier checkpoint is kept.
        OSError
            If it cannot be written; the earlier checkpoint is kept.
        """
        arrays: dict[str, Array] = {}
        for kind, values in checkpoint.state.items():
            for name, value in values.items():
                if not np.isfinite(value).all():
                    raise DivergenceError(
                        f"{kind} of {name} became infinite in epoch {len(checkpoint.history)}: "
                        "the learning rate is likely too high"
                    )
                arrays[f"{kind}/{name}"] = value
        arrays["steps"] = np.array(checkpoint.steps, np.int64)
        arrays["history"] = np.array(list(checkpoint.history.rows()), np.float64).reshape(-1, 5)
        save_arrays(self.checkpoint_path, arrays, json.dumps(checkpoint.configuration))

    def load_checkpoint(self, configuration: Mapping[str, Any], like: State, network: type[Classifier]) -> Checkpoint:
        """Read the checkpoint of a run with the same configuration.

        Parameters
        ----------
        configuration : of the run that is to go on
        like : names, shapes and types of its state
        network : what it trains

        Raises
        ------
        ValueError
            If there is none, if it or the weights beside it are damaged, or if it belongs to another configuration.
        """
        if not self.checkpoint_path.is_file():
            raise ValueError(f"--resume: nothing to resume, {self.checkpoint_path} does not exist")
        arrays, text = load_arrays(self.checkpoint_path)
        try:
            found = dict(json.loads(text))
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError(f"--resume: {self.checkpoint_path} is not a checkpoint of this project") from error
        for name in (*configuration, *found):
            if found.get(name) != configuration.get(name):
                raise ValueError(
                    f"--resume: {self.path} holds a run with {name} = {found.get(name)}, "
                    f"but this one has {configuration.get(name)}"
                )
        if not _fit(arrays, like):
            raise ValueError(f"--resume: {self.checkpoint_path} does not hold what training needs to go on")
        history = History()
        for row in arrays.pop("history").tolist():
            history.append(Metrics(*row[:4]), row[4])
        if len(history) and self.weights_path.exists():  # before the first epoch, it may be an earlier run's
            self._check_weights(like["parameters"], network)
        state = {kind: {name: arrays[f"{kind}/{name}"] for name in values} for kind, values in like.items()}
        return Checkpoint(state, int(arrays["steps"]), history, found)

    def _check_weights(self, like: Mapping[str, Array], network: type[Classifier]) -> None:
        try:
            parameters = network.load(self.weights_path).parameters
        except ValueError as error:
            raise ValueError(f"--resume: {error}; remove it to go on") from error
        if any(parameters.get(name, np.array(0)).shape != value.shape for name, value in like.items()):
            raise ValueError(f"--resume: {self.weights_path} is of another network; remove it to go on")

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write `summary.json`."""
        with replacing(self.path / "summary.json") as temporary:
            temporary.write_text(json.dumps(summary, indent=2, allow_nan=False) + "\n")


def _fit(arrays: Mapping[str, Array], like: State) -> bool:
    """Return whether a checkpoint's arrays have the names, shapes, types and finite numbers that a run needs."""
    expected = {f"{kind}/{name}": value for kind, values in like.items() for name, value in values.items()}
    expected["steps"] = np.zeros((), np.int64)
    expected["history"] = np.zeros((*arrays["history"].shape[:1], 5)) if "history" in arrays else np.zeros(())
    if arrays.keys() != expected.keys():
        return False
    if any(value.shape != expected[key].shape or value.dtype != expected[key].dtype for key, value in arrays.items()):
        return False
    history = arrays["history"]
    not_measured = np.isnan(history) & [False, False, True, True, False]  # on an empty validation set
    finite = all(np.isfinite(value).all() for key, value in arrays.items() if key != "history")
    return finite and bool((np.isfinite(history) | not_measured).all() and (history[:, 4] > 0).all())
