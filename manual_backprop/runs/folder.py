"""The folder of one training run: its lock, its checkpoint and its results."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from manual_backprop.storage.files import replacing
from manual_backprop.history import DivergenceError, History, Metrics
from manual_backprop.arrays import Array
from manual_backprop.networks.mlp import MLP
from manual_backprop.storage.weights import load_arrays, load_weights, save_arrays

RESULTS = ("history.csv", "curves.png", "hidden_units.png", "mistakes.png", "weights.safetensors", "summary.json")
KINDS = ("parameters", "velocity")


@dataclass(frozen=True)
class Checkpoint:
    """All that a run needs to go on: with equal configurations it ends in the same bits as without a break."""

    parameters: Mapping[str, Array]
    velocity: Mapping[str, Array]
    history: History
    configuration: Mapping[str, Any]


class RunFolder:
    """The files of one run.

    Parameters
    ----------
    path : the folder; made, with those above it, when the run is opened
    """

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
        for name in RESULTS:
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
        for kind in KINDS:
            for name, value in getattr(checkpoint, kind).items():
                if not np.isfinite(value).all():
                    raise DivergenceError(
                        f"{kind} of {name} became infinite in epoch {len(checkpoint.history)}: "
                        "the learning rate is likely too high"
                    )
                arrays[f"{kind}/{name}"] = value
        arrays["history"] = np.array(list(checkpoint.history.rows()), np.float64).reshape(-1, 5)
        save_arrays(self.checkpoint_path, arrays, json.dumps(checkpoint.configuration))

    def load_checkpoint(self, configuration: Mapping[str, Any]) -> Checkpoint:
        """Read the checkpoint of a run with this very configuration.

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
        if not _fit(arrays, configuration):
            raise ValueError(f"--resume: {self.checkpoint_path} does not hold what training needs to go on")
        history = History()
        for row in arrays.pop("history").tolist():
            history.append(Metrics(*row[:4]), row[4])
        if len(history) and self.weights_path.exists():  # before the first epoch, it may be an earlier run's
            self._check_weights(configuration["sizes"])
        parts: dict[str, dict[str, Array]] = {kind: {} for kind in KINDS}
        for key, value in arrays.items():
            kind, name = key.split("/")
            parts[kind][name] = value
        return Checkpoint(**parts, history=history, configuration=found)

    def _check_weights(self, expected: list[int]) -> None:
        try:
            sizes = list(MLP(load_weights(self.weights_path)).sizes)
        except ValueError as error:
            raise ValueError(f"--resume: {error}; remove it to go on") from error
        if sizes != expected:
            raise ValueError(f"--resume: {self.weights_path} is of another network, {sizes}; remove it to go on")

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write ``summary.json``."""
        with replacing(self.path / "summary.json") as temporary:
            temporary.write_text(json.dumps(summary, indent=2, allow_nan=False) + "\n")


def _fit(arrays: Mapping[str, Array], configuration: Mapping[str, Any]) -> bool:
    """Return whether a checkpoint's arrays have the names, shapes, types and finite numbers of this configuration."""
    shapes: dict[str, tuple[int, ...]] = {}
    for i, (fan_in, fan_out) in enumerate(pairwise(configuration["sizes"])):
        shapes |= {f"layers.{i}.weight": (fan_in, fan_out), f"layers.{i}.bias": (fan_out,)}
    expected = {f"{kind}/{name}": (shape, configuration["dtype"]) for kind in KINDS for name, shape in shapes.items()}
    expected["history"] = ((*arrays["history"].shape[:1], 5), "float64") if "history" in arrays else ((), "")
    if {key: (value.shape, str(value.dtype)) for key, value in arrays.items()} != expected:
        return False
    history = arrays["history"]
    not_measured = np.isnan(history) & [False, False, True, True, False]  # on an empty validation set
    finite = all(np.isfinite(value).all() for key, value in arrays.items() if key != "history")
    return finite and bool((np.isfinite(history) | not_measured).all() and (history[:, 4] > 0).all())
