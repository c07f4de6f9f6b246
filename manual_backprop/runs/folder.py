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
        history = np.array(list(checkpoint.history.rows()), np.float64).reshape(-1, 5)
        arrays: dict[str, Array] = {"steps": np.array(checkpoint.steps, np.int64), "history": history}
        self.write_arrays(checkpoint.state, arrays, checkpoint.configuration, f"epoch {len(history)}")

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
        state, others, found = self.read_arrays(configuration, like)
        if not _complete(others):
            raise self.incomplete()
        history = History()
        for row in others["history"].tolist():
            history.append(Metrics(*row[:4]), row[4])
        if len(history) and self.weights_path.exists():  # before the first epoch, it may be an earlier run's
            self._check_weights(like["parameters"], network)
        return Checkpoint(state, int(others["steps"]), history, found)

    def write_arrays(
        self, state: State, others: Mapping[str, Array], configuration: Mapping[str, Any], reached: str
    ) -> None:
        """Replace the checkpoint's file, unless a number of the state is not finite.

        Parameters
        ----------
        state : of the run
        others : arrays that belong to it, with names of one word
        configuration : of the run
        reached : the epoch or step, for the message

        Raises
        ------
        DivergenceError, OSError
            As `save_checkpoint`.
        """
        arrays = dict(others)
        for kind, values in state.items():
            for name, value in values.items():
                if not np.isfinite(value).all():
                    raise DivergenceError(
                        f"{kind} of {name} became infinite in {reached}: the learning rate is likely too high"
                    )
                arrays[f"{kind}/{name}"] = value
        save_arrays(self.checkpoint_path, arrays, json.dumps(configuration))

    def read_arrays(
        self, configuration: Mapping[str, Any], like: State
    ) -> tuple[State, Mapping[str, Array], Mapping[str, Any]]:
        """Return what `write_arrays` wrote: the state, whose names, shapes, types and numbers are right, and the rest.

        Raises
        ------
        ValueError
            As `load_checkpoint`.
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
        expected = {f"{kind}/{name}": value for kind, values in like.items() for name, value in values.items()}
        kept = {name: value for name, value in arrays.items() if "/" in name}
        if kept.keys() != expected.keys() or any(
            value.shape != expected[name].shape or value.dtype != expected[name].dtype or not np.isfinite(value).all()
            for name, value in kept.items()
        ):
            raise self.incomplete()
        state = {kind: {name: kept[f"{kind}/{name}"] for name in values} for kind, values in like.items()}
        return state, {name: value for name, value in arrays.items() if name not in kept}, found

    def incomplete(self) -> ValueError:
        """Return the error of a checkpoint that lacks something."""
        return ValueError(f"--resume: {self.checkpoint_path} does not hold what training needs to go on")

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


def _complete(arrays: Mapping[str, Array]) -> bool:
    """Return whether a checkpoint has, beside its state, the number of steps and a history, and nothing else."""
    if arrays.keys() != {"steps", "history"}:
        return False
    steps, history = arrays["steps"], arrays["history"]
    if steps.shape != () or steps.dtype != np.int64 or history.dtype != np.float64 or history.shape[1:] != (5,):
        return False
    not_measured = np.isnan(history) & [False, False, True, True, False]  # on an empty validation set
    return bool((np.isfinite(history) | not_measured).all() and (history[:, 4] > 0).all())
