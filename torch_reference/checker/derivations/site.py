"""The places of the reference where a mistake can be: an operation, with all its turns where it stands in a loop."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from torch_reference.checker.tape.replay import Replay, reads
from torch_reference.checker.tape.steps import Place, Step

VIEWS = frozenset(
    "t transpose permute view reshape _unsafe_view expand unsqueeze squeeze clone alias _to_copy "
    "lift_fresh contiguous select_scatter slice_scatter select slice unbind split split_with_sizes unsafe_split "
    "detach narrow as_strided constant_pad_nd".split()
)
OPERATORS = {"truediv": "div", "rdiv": "div", "rsub": "sub", "radd": "add", "rmul": "mul", "getitem": "indexing"}
NAMES = {
    "mm": "matmul",
    "bmm": "matmul",
    "_softmax": "softmax",
    "_safe_softmax": "softmax",
    "_log_softmax": "log_softmax",
    "nll_loss_forward": "nll_loss",
    "max_pool2d_with_indices": "max_pool2d",
    "convolution": "conv2d",
}


@dataclass(frozen=True)
class Site:
    """Some turns of one operation.

    Attributes
    ----------
    steps : tuple of Step
        Those that a change takes hold of.
    group : tuple of Step
        All turns of the operation.
    turns : str
        Which of them, in words; empty for all.
    picked : callable or None
        What the reference takes of the result, where it does not compute all of it: one class in each row.
    note : str
        What else is said of the place.
    """

    steps: tuple[Step, ...]
    group: tuple[Step, ...]
    turns: str = ""
    picked: Callable[[Tensor], Tensor] | None = None
    note: str = ""

    @property
    def step(self) -> Step:
        """The last of the steps: in the first turn of a loop its state is a constant."""
        return self.steps[-1]

    def upstream(self, replay: Replay) -> Tensor | None:
        """Return the gradient of its result, if it has but one, and that one a gradient."""
        known = [replay.upstream[number] for number in self.step.outputs if number in replay.upstream]
        if len(self.group) > 1 or len(known) != 1 or self.step.outputs[0] not in replay.upstream:
            return None
        if self.picked is None:
            return known[0]
        whole = torch.zeros_like(replay.values[self.step.inputs[0]], requires_grad=True)
        with torch.enable_grad():
            return torch.autograd.grad(self.picked(whole), whole, known[0])[0]

    @property
    def place(self) -> Place:
        """The line that it stands on."""
        return self.step.place


def sites(replay: Replay, wrong: list[str]) -> list[Site]:
    """Return the places between the loss and the wrong inputs, those near the loss first.

    What a sum weighs by an input is that input's gradient: an output of a function, which all its steps lead to.
    """
    reached = {replay.tape.leaves[name] for name in wrong}
    if any(_weighs(replay, number) for number in reached):
        reached = set(replay.tape.leaves.values())
    groups: dict[tuple[object, ...], list[Step]] = {}
    for step in replay.tape.steps:
        if reached.intersection(step.inputs):
            reached.update(step.outputs)
            groups.setdefault((step.name, step.place), []).append(step)
    return [site for group in reversed(groups.values()) for site in _turns(tuple(group))]


def _turns(group: tuple[Step, ...]) -> Iterator[Site]:
    yield Site(group, group)
    if len(group) > 1:
        yield Site(group[:1], group, "in its first turn")
        yield Site(group[-1:], group, "in its last turn")
    if len(group) > 2:
        yield Site(group[1:], group, "in all turns but the first")
        yield Site(group[:-1], group, "in all turns but the last")


def _weighs(replay: Replay, number: int) -> bool:
    product = single_reader(replay, number)
    total = single_reader(replay, product.outputs[0]) if product and product.name == "mul" else None
    return total is not None and total.name == "sum" and replay.values[total.outputs[0]].dim() == 0


def shown(step: Step) -> str:
    """Return the name of an operation for people."""
    own = NAMES.get(step.name, step.name.strip("_"))
    call = step.place.call
    return OPERATORS.get(call, call) if call and not step.place.formula else call or own


def described(replay: Replay, number: int) -> str:
    """Say what a value is: an input, or the result of an operation in a line."""
    for name, leaf in replay.tape.leaves.items():
        if leaf == number:
            return name
    step = replay.maker(number)
    if step is None:
        return "a constant"
    if step.name in VIEWS and step.inputs:
        return described(replay, step.inputs[0])
    return f"the result of {own(step)} in line {step.place.line}"


def own(step: Step) -> str:
    """Return the name of the operation itself, where `shown` gives that of the call it belongs to."""
    name = NAMES.get(step.name, step.name.strip("_"))
    if step.place.formula:
        return f"{name} (in {step.place.call})"
    call = OPERATORS.get(step.place.call, step.place.call)
    return call if call else name


def single_reader(replay: Replay, number: int) -> Step | None:
    """Return the step that reads a value, if there is only one."""
    found = reads(replay.tape, number)
    return found[0] if len(found) == 1 else None
