"""Formulas of one array, entry by entry, over several steps: the inner function whose derivative is forgotten."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from torch_reference.checker.derivations.kinds.catalogue.names import ELEMENTWISE
from torch_reference.checker.derivations.site import Site, sites
from torch_reference.checker.reference.private import tree_flatten
from torch_reference.checker.tape.replay import Replay
from torch_reference.checker.tape.steps import Ref, Step

POINTWISE = ELEMENTWISE | {"add", "sub", "rsub", "mul", "div", "neg", "where"}
LONGEST = 12  # steps of a formula


@dataclass(frozen=True)
class Region:
    """Some steps as one function of their first operand and of what else they read."""

    steps: tuple[Step, ...]
    reads: tuple[int, ...]
    name: str = "formula"

    def __call__(self, *operands: Tensor) -> Tensor:
        """Run the steps."""
        values = dict(zip(self.reads, operands, strict=True))
        for step in self.steps:
            Replay.store(values, step, step.run(values))
        return values[self.steps[-1].outputs[0]]


def regions(replay: Replay, wrong: list[str]) -> Iterator[Site]:
    """Yield the formulas of one array."""
    for site in sites(replay, wrong):
        if len(site.group) == 1 and site.step.name in POINTWISE:
            yield from _formulas(replay, site.step)


def _formulas(replay: Replay, last: Step) -> Iterator[Site]:
    """Go back from a step until all that it depends on goes through one array, and on from there."""
    shape = replay.values[last.outputs[0]].shape
    steps = [last]
    while len(steps) < LONGEST:
        inner = {step.outputs[0] for step in steps}
        reads = {number for step in steps for number in step.inputs} - inner
        sources = [number for number in reads if replay.values[number].requires_grad]
        if len(steps) > 1 and len(sources) == 1 and replay.values[sources[0]].shape == shape:
            ordered = tuple(sorted(steps, key=lambda step: step.number))
            numbers = (sources[0], *sorted(reads - {sources[0]}))
            flat, spec = tree_flatten((tuple(Ref(number) for number in numbers), {}))
            place = replace(last.place, formula="")
            step = Step(last.number, Region(ordered, numbers), tuple(flat), spec, last.outputs, place, False)
            yield Site((step,), (step,))
        makers = [maker for number in sources if (maker := replay.maker(number)) and len(maker.outputs) == 1]
        if not makers:
            return
        latest = max(makers, key=lambda step: step.number)
        if latest.name not in POINTWISE or replay.values[latest.outputs[0]].shape not in (shape, torch.Size()):
            return
        steps.append(latest)
