"""A reference recorded and replayed, and its steps by name: what tests of tapes and of derivations look at."""

import numpy as np
import torch

from torch_reference.checker.reference.evaluation import Reference
from torch_reference.checker.tape.recording import record
from torch_reference.checker.tape.replay import Replay


def replayed(reference, **inputs):
    """Return the replay of a reference; all floating inputs are wanted."""
    arrays = {name: np.asarray(value) for name, value in inputs.items()}
    wanted = tuple(name for name, array in arrays.items() if array.dtype.kind == "f")
    return Replay(*record(Reference(reference, arrays, wanted)), list(wanted))


def local_of(name, reference, **inputs):
    """Return the last step of that name in a reference, at its place."""
    replay = replayed(reference, **inputs)
    return replay.at([step for step in replay.tape.steps if step.name == name][-1])


def drawn(*shape, seed=0):
    """Return normally distributed numbers, always the same."""
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))
