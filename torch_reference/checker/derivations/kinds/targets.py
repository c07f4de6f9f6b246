"""The mistakes in the targets of p - t, the derivative of cross-entropy, where t is put together of several parts.

Label smoothing has two: the label itself, and what all classes share. Of g - p * sum(g), the derivative of log-softmax,
g is -t, and sum(g) is right whatever becomes of a part.
"""

from collections.abc import Iterator
from functools import partial

from torch import Tensor

from torch_reference.checker.derivations.change import Change, derived
from torch_reference.checker.derivations.site import Site, own
from torch_reference.checker.tape.replay import Local, Replay, reads
from torch_reference.checker.tape.steps import Step


def other_targets(replay: Replay, site: Site) -> Iterator[Change]:
    """Yield the parts of the targets, left out or counted otherwise."""
    readers = reads(replay.tape, site.step.outputs[0]) if site.step.name == "_log_softmax" else []
    for reader in readers if len(readers) > 1 else ():
        words = f"of its derivative, p minus the targets, what comes to the targets through {own(reader)}"
        said = f"{words} in line {reader.place.line} {{counted}}"
        yield derived(site, said, partial(_counted, reader), 0.9, fitted=True)


def _counted(reader: Step, local: Local, grad: Tensor, share: float) -> list[Tensor]:
    replay = local.replay
    place = [n for n in reader.inputs if replay.values[n].is_floating_point()].index(local.step.outputs[0])
    part = replay.at(reader).vjp(replay.upstream[reader.outputs[0]])[place]
    return [local.vjp(grad)[0] + (share - 1) * part]
