"""Explain wrong gradients by one step of the reference that was derived wrongly. The room's one face."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from torch_reference.checker.derivations.search import explanations
from torch_reference.checker.derivations.target import Target
from torch_reference.checker.derivations.words import code, message
from torch_reference.checker.reference.evaluation import Reference
from torch_reference.checker.tape.recording import record
from torch_reference.checker.tape.replay import Replay

AGREES = 1e-9  # the recorded steps must give autograd's own gradients, relative to their largest entry
SMALL, SECONDS, LONGER = 100_000, 2.0, 10.0  # values on a tape up to which two seconds are enough to look


@dataclass(frozen=True)
class Derivation:
    """What went wrong.

    Attributes
    ----------
    code, message : str
        The verdict.
    affected : frozenset of str
        The gradients that the wrong step makes wrong; others are wrong by the factor alone.
    factor : float
        A factor of all wrong gradients beside it.
    """

    code: str
    message: str
    affected: frozenset[str]
    factor: float


def derivation(
    reference: Reference, target: Target, elsewhere: Callable[[], tuple[Reference, Target] | None]
) -> Derivation | float | None:
    """Return what reproduces all wrong gradients; the seconds spent where the time ended before all was tried.

    Parameters
    ----------
    reference : Reference
        The loss.
    target : Target
        The gradients.
    elsewhere : callable
        Returns the same at inputs that are moved a little, or None.
    """
    replay = replayed(reference, target)
    if replay is None:
        return None

    def second() -> tuple[Replay, Target] | None:
        moved = elsewhere()
        again = replayed(*moved) if moved else None
        alike = again and [step.func for step in again.tape.steps] == [step.func for step in replay.tape.steps]
        return (again, moved[1]) if moved and again and alike else None

    seconds = SECONDS if sum(value.numel() for value in replay.values.values()) < SMALL else LONGER
    with np.errstate(all="ignore"):  # changes that divide by zero are no explanation, and no warning
        found, ended = explanations(replay, target, second, seconds)
    if not found:
        return seconds if ended else None
    return Derivation(code(found[0]), message(found), found[0].affected, found[0].factor)


def replayed(reference: Reference, target: Target) -> Replay | None:
    """Return the recorded reference if it gives autograd's gradients, by formulas or else by PyTorch's operations."""
    for composite in (False, True):
        try:
            replay = Replay(*record(reference, composite), list(target.base))
        except Exception:  # noqa: S112 (a reference that runs only without a recorder is not explained)
            continue
        gradients = replay.gradients({})
        if all(
            np.abs(gradients[name].reshape(-1).numpy() - right).max(initial=0.0)
            <= AGREES * np.abs(right).max(initial=0.0) + target.floor
            for name, right in target.base.items()
        ):
            return replay
    return None
