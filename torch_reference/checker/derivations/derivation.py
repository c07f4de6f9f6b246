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
from torch_reference.checker.tape.steps import Step

WHOLE = {"silu", "gelu", "prelu"}  # derived by the lines of their formulas, or as a whole
AGREES = 1e-9  # the recorded steps must give autograd's own gradients, relative to their largest entry
# Work is counted, not timed, so that any machine finds the same: in tenths of a millisecond of a usual one, of which a
# change takes one, and one more for so many steps, entries of all values, and multiplications in products of matrices.
STEPS, ENTRIES, MULTIPLICATIONS = 10, 50_000, 2_000_000
SMALL, LITTLE, MUCH = 100_000, 20_000, 60_000  # entries up to which little work is enough to look


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
) -> Derivation | int | None:
    """Return what reproduces all wrong gradients; how many changes were tried where there were more than affordable.

    Parameters
    ----------
    reference : Reference
        The loss.
    target : Target
        The gradients.
    elsewhere : callable
        Returns the same at inputs that are moved a little, or None.
    """
    ended = 0
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
) -> Derivation | int | None:
    """Return what one change of a recorded reference explains."""

    def second() -> tuple[Replay, Target] | None:
        moved = elsewhere()
        again = replayed(*moved, composite) if moved else None
        alike = again and [step.func for step in again.tape.steps] == [step.func for step in replay.tape.steps]
        return (again, moved[1]) if moved and again and alike else None

    most = affordable(replay)
    with np.errstate(all="ignore"):  # changes that divide by zero are no explanation, and no warning
        found, ended = explanations(replay, target, second, most)
    if not found:
        return most if ended else None
    return Derivation(code(found[0], replay), message(found), found[0].affected, found[0].factor)


def affordable(replay: Replay) -> int:
    """Return how many changes of a recorded reference are tried."""
    entries = sum(value.numel() for value in replay.values.values())
    products = sum(_multiplications(replay, step) for step in replay.tape.steps)
    cost = 1 + len(replay.tape.steps) / STEPS + entries / ENTRIES + products / MULTIPLICATIONS
    return int((LITTLE if entries < SMALL else MUCH) / cost)


def _multiplications(replay: Replay, step: Step) -> int:
    if step.name not in {"mm", "bmm", "convolution"}:
        return 0
    one, other = (replay.values[number] for number in step.inputs[:2])
    return replay.values[step.outputs[0]].numel() * (other[0].numel() if step.name == "convolution" else one.shape[-1])


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
