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

WHOLE = {"silu", "gelu"}  # derived by the lines of their formulas, or as a whole
AGREES = 1e-9  # the recorded steps must give autograd's own gradients, relative to their largest entry
SMALL, SECONDS, LONGER = 100_000, 2.0, 4.0  # values on a tape up to which two seconds are enough to look


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
    ended = 0.0
    for composite in (False, True):
        replay = replayed(reference, target, composite)
        if replay is not None:
            found = _explained(replay, target, elsewhere, composite)
            if isinstance(found, Derivation):
                return found
            ended = found or ended
            if not any(step.place.call in WHOLE for step in replay.tape.steps):
                break
    return ended or None


def _explained(
    replay: Replay, target: Target, elsewhere: Callable[[], tuple[Reference, Target] | None], composite: bool
) -> Derivation | float | None:
    """Return what one change of a recorded reference explains."""

    def second() -> tuple[Replay, Target] | None:
        moved = elsewhere()
        again = replayed(*moved, composite) if moved else None
        alike = again and [step.func for step in again.tape.steps] == [step.func for step in replay.tape.steps]
        return (again, moved[1]) if moved and again and alike else None

    seconds = SECONDS if sum(value.numel() for value in replay.values.values()) < SMALL else LONGER
    with np.errstate(all="ignore"):  # changes that divide by zero are no explanation, and no warning
        found, ended = explanations(replay, target, second, seconds)
    if not found:
        return seconds if ended else None
    return Derivation(code(found[0], replay), message(found), found[0].affected, found[0].factor)


def replayed(reference: Reference, target: Target, composite: bool) -> Replay | None:
    """Return the recorded reference, by formulas or by PyTorch's operations, if it gives autograd's gradients."""
    try:
        replay = Replay(*record(reference, composite), list(target.base))
    except Exception:  # a reference that runs only without a recorder is not explained
        return None
    gradients = replay.gradients({})
    agrees = all(
        np.abs(gradients[name].reshape(-1).numpy() - right).max(initial=0.0)
        <= AGREES * np.abs(right).max(initial=0.0) + target.floor
        for name, right in target.base.items()
    )
    return replay if agrees else None
