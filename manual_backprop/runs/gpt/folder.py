"""The checkpoint of a GPT's run, in the folder of the run."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from manual_backprop.arrays import Array
from manual_backprop.history import DivergenceError
from manual_backprop.runs.folder import RunFolder, State
from manual_backprop.runs.gpt.history import StepHistory
from manual_backprop.storage.weights import load_arrays, save_arrays


@dataclass(frozen=True)
class StepCheckpoint:
    """All that a run needs to go on: with equal configurations it ends in the same bits as without a break."""

    state: State
    history: StepHistory
    configuration: Mapping[str, Any]


class GPTFolder(RunFolder):
    """The files of one run of a GPT."""

    results: ClassVar[tuple[str, ...]] = (
        "history.csv",
        "curves.png",
        "sample.txt",
        "weights.safetensors",
        "summary.json",
    )

    def save_steps(self, checkpoint: StepCheckpoint) -> None:
        """Replace the checkpoint by a newer one.

        Raises
        ------
        DivergenceError
            If a number in it is not finite; the earlier checkpoint is kept.
        OSError
            If it cannot be written; the earlier checkpoint is kept.
        """
        arrays: dict[str, Array] = {"history": checkpoint.history.to_array()}
        for kind, values in checkpoint.state.items():
            for name, value in values.items():
                if not np.isfinite(value).all():
                    raise DivergenceError(
                        f"{kind} of {name} became infinite in step {len(checkpoint.history)}: "
                        "the learning rate is likely too high"
                    )
                arrays[f"{kind}/{name}"] = value
        save_arrays(self.checkpoint_path, arrays, json.dumps(checkpoint.configuration))

    def load_steps(self, configuration: Mapping[str, Any], like: State) -> StepCheckpoint:
        """Read the checkpoint of a run with the same configuration.

        Parameters
        ----------
        configuration : of the run that is to go on
        like : names, shapes and types of its state

        Raises
        ------
        ValueError
            If there is none, if it is damaged, or if it belongs to another configuration.
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
        rows = arrays.pop("history", np.zeros(0))
        fits = rows.ndim == 2 and rows.shape[1] == 3 and rows.dtype == np.float64 and arrays.keys() == expected.keys()
        if not fits or any(
            value.shape != expected[name].shape or value.dtype != expected[name].dtype or not np.isfinite(value).all()
            for name, value in arrays.items()
        ):
            raise ValueError(f"--resume: {self.checkpoint_path} does not hold what training needs to go on")
        state = {kind: {name: arrays[f"{kind}/{name}"] for name in values} for kind, values in like.items()}
        return StepCheckpoint(state, StepHistory.from_array(rows), found)
