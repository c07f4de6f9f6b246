"""The folder of one training run: its lock, its checkpoint and its results."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock, Timeout

from manual_backprop.files import replacing
from manual_backprop.history import DivergenceError, History, Metrics
from manual_backprop.layers import Array
from manual_backprop.network import MLP
from manual_backprop.weights import load_arrays, load_weights, save_arrays

RESULTS = ("history.csv", "curves.png", "hidden_units.png", "mistakes.png", "weights.safetensors", "summary.json")


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

    def clear(self) -> None:
        """Remove what an earlier run left, so that no file of it can be taken for this run's."""
        for name in (*RESULTS, self.checkpoint_path.name):
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
        for kind in ("parameters", "velocity"):
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
        found = json.loads(text)
        for name, value in configuration.items():
            if found.get(name) != value:
                raise ValueError(
                    f"--resume: {self.path} holds a run with {name} = {found.get(name)}, but this one has {value}"
                )
        if self.weights_path.exists():
            sizes = list(MLP(load_weights(self.weights_path)).sizes)
            if sizes != configuration["sizes"]:
                raise ValueError(f"--resume: {self.weights_path} is of another network, {sizes}; remove it")
        history = History()
        for row in arrays.pop("history").tolist():
            history.append(Metrics(*row[:4]), row[4])
        parts: dict[str, dict[str, Array]] = {"parameters": {}, "velocity": {}}
        for key, value in arrays.items():
            kind, name = key.split("/")
            parts[kind][name] = value
        return Checkpoint(**parts, history=history, configuration=found)

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write ``summary.json``."""
        with replacing(self.path / "summary.json") as temporary:
            temporary.write_text(json.dumps(summary, indent=2, allow_nan=False) + "\n")
