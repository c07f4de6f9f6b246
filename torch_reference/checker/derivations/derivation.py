"""Explain wrong gradients by one step of the reference that was derived wrongly. The room's one face."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from torch_reference.checker.derivations.search import explanations
from torch_reference.checker.derivations.target import Target
from torch_reference.checker.derivations.words import code, message
from torch_reference.checker.reference.replay import Replay
from torch_reference.checker.reference.tape import record

Array = NDArray[np.float64]
Gradients = Mapping[str, Array]
AGREES = 1e-9  # the tape must give autograd's own gradients, relative to their largest entry


def derivation(
    reference: Callable[..., Any],
    tensors: Mapping[str, torch.Tensor],
    target: Target,
    second: Callable[[], tuple[Mapping[str, torch.Tensor], Target] | None],
    seconds: float = 2.0,
) -> tuple[str, str] | None:
    """Return code and message where one change of the reference reproduces all wrong gradients, else None.

    Parameters
    ----------
    reference : callable
        The loss.
    tensors : mapping of str to tensor
        Its inputs.
    target : Target
        The gradients.
    second : callable
        Returns the same at inputs that are moved a little, or None.
    seconds : float
        How long to look.
    """
    replay = replayed(reference, tensors, target)
    if replay is None:
        return None

    def other() -> tuple[Replay, Target] | None:
        moved = second()
        if moved is None:
            return None
        again = replayed(reference, moved[0], moved[1])
        alike = again and [step.func for step in again.tape.steps] == [step.func for step in replay.tape.steps]
        return (again, moved[1]) if again and alike else None

    found = explanations(replay, target, other, seconds)
    return (code(found[0]), message(found)) if found else None


def replayed(reference: Callable[..., Any], tensors: Mapping[str, torch.Tensor], target: Target) -> Replay | None:
    """Return the recorded reference if it gives autograd's own gradients, in formulas or else in PyTorch's operations."""
    for composite in (False, True):
        try:
            tape = record(reference, tensors, composite)
            replay = Replay(tape, tensors, list(target.base))
        except Exception:  # noqa: S112 (a reference that only runs outside a recorder is not explained)
            continue
        gradients = replay.gradients({})
        close = [
            np.abs(gradients[name].reshape(-1).numpy() - right).max(initial=0.0)
            <= AGREES * np.abs(right).max(initial=0.0) + target.floor
            for name, right in target.base.items()
        ]
        if all(close):
            return replay
    return None
