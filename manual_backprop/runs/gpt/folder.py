"""The checkpoint of a GPT's run, in the folder of the run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from manual_backprop.runs.folder import RunFolder, State
from manual_backprop.runs.gpt.history import StepHistory


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
        history = checkpoint.history.to_array()
        reached = f"step {len(checkpoint.history)}"
        self.write_arrays(checkpoint.state, {"history": history}, checkpoint.configuration, reached)

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
        state, others, found = self.read_arrays(configuration, like)
        rows = others.get("history", np.zeros(0))
        if others.keys() != {"history"} or rows.ndim != 2 or rows.shape[1] != 3 or rows.dtype != np.float64:
            raise self.incomplete()
        return StepCheckpoint(state, StepHistory.from_array(rows), found)
