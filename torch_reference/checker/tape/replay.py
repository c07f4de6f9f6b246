"""The steps of a tape run again, some of them by other rules, and differentiated by autograd.

A rule takes the place of a step. It may compute something else (the forward pass of another formula), or the same with
a backward pass of its own (`own_backward`), or read an operand through `way`, which weakens or cuts the gradient alone.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from torch_reference.checker.reference.private import tree_flatten
from torch_reference.checker.tape.steps import Ref, Step, Tape

Rule = Callable[[Mapping[int, Tensor], "Replay"], Any]  # from the values so far, and the unchanged computation


class Local:
    """One step at its place in a replay: what a rule sees.

    Attributes
    ----------
    step : Step
        The operation.
    operands : list of tensor
        The floating values that it reads, with their gradient.
    values : mapping of int to tensor
        What it reads, by number. No more: a backward pass that held the step's own result would never be freed.
    replay : Replay
        The unchanged computation.
    """

    def __init__(self, step: Step, values: Mapping[int, Tensor], replay: "Replay") -> None:
        self.step, self.replay = step, replay
        self.values = {number: values[number] for number in step.inputs}
        self.operands = [values[number] for number in step.inputs if values[number].is_floating_point()]
        self._right: tuple[Tensor, list[Tensor]] | None = None  # what was asked for last

    def compute(self, *operands: Tensor) -> Any:
        """Run the operation on other operands."""
        return self.step.run(self.values, operands)

    def vjp(
        self, grad: Tensor, saved: Mapping[int, Tensor] | None = None, at: Mapping[int, Tensor] | None = None
    ) -> list[Tensor]:
        """Return the gradient of each operand for a given gradient of the result.

        `saved` replaces what the operation's backward pass reads, by its position; `at` replaces operands.
        """
        if saved is None and at is None:
            if self._right is None or self._right[0] is not grad:
                self._right = grad, self._vjp(grad, {}, {})
            return self._right[1]
        return self._vjp(grad, saved or {}, at or {})

    def _vjp(self, grad: Tensor, saved: Mapping[int, Tensor], at: Mapping[int, Tensor]) -> list[Tensor]:
        position = -1

        def pack(tensor: Tensor) -> tuple[int, Tensor]:
            nonlocal position
            position += 1
            return position, tensor

        def unpack(packed: tuple[int, Tensor]) -> Tensor:
            return saved.get(packed[0], packed[1])

        with torch.enable_grad():
            operands = [at.get(k, own).detach().requires_grad_() for k, own in enumerate(self.operands)]
            with torch.autograd.graph.saved_tensors_hooks(pack, unpack):
                result = first(self.compute(*operands))
            found = torch.autograd.grad(result, operands, grad, allow_unused=True)
        return [
            torch.zeros_like(operand) if gradient is None else gradient
            for operand, gradient in zip(operands, found, strict=True)
        ]

    def saved(self) -> list[Tensor]:
        """Return what the operation's backward pass reads."""
        kept: list[Tensor] = []

        def pack(tensor: Tensor) -> Tensor:
            kept.append(tensor.detach())
            return tensor

        with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            self.compute(*[operand.detach().requires_grad_() for operand in self.operands])
        return kept


class _OwnBackward(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, backward: Callable[[Tensor], Sequence[Tensor]], result: Tensor, *_: Tensor) -> Tensor:
        ctx.own = backward
        return result.detach().clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        return None, None, *ctx.own(grad)


def own_backward(local: Local, backward: Callable[[Tensor], Sequence[Tensor]], result: Any = None) -> Any:
    """Return the result of a step whose gradient is computed by `backward(grad)`, one for each operand."""
    with torch.no_grad():
        result = local.compute(*local.operands) if result is None else result
    main = _OwnBackward.apply(backward, first(result), *local.operands)
    return (main, *result[1:]) if isinstance(result, tuple | list) else main


def way(operand: Tensor, share: float) -> Tensor:
    """Return the operand itself, with `share` times its gradient."""
    return operand.detach() if share == 0 else operand.detach() + share * (operand - operand.detach())


def first(result: Any) -> Tensor:
    """Return the main result of an operation."""
    return result[0] if isinstance(result, tuple | list) else result


class Replay:
    """A tape at one point.

    Parameters
    ----------
    tape : Tape
        The steps.
    tensors : mapping of str to tensor
        The floating inputs.
    wanted : list of str
        Those whose gradients are asked for.

    Attributes
    ----------
    values : dict of int to tensor
        All values, with their gradients.
    """

    def __init__(self, tape: Tape, tensors: Mapping[str, Tensor], wanted: Sequence[str]) -> None:
        self.tape, self.wanted = tape, list(wanted)
        self._locals: dict[Step, Local] = {}
        self.values: dict[int, Tensor] = {
            number: tensors[name].detach().requires_grad_(name in self.wanted) for name, number in tape.leaves.items()
        } | tape.constants
        with torch.enable_grad():
            for step in tape.steps:
                self.store(self.values, step, step.run(self.values))
        self.upstream = self._upstream()
        self.base = self.gradients({})

    def loss(self, rules: Mapping[int, Rule]) -> Tensor:
        """Run all steps that depend on those with a rule."""
        values = dict(self.values)
        changed: set[int] = set()
        with torch.enable_grad():
            for step in self.tape.steps[min(rules, default=len(self.tape.steps)) :]:
                if step.number in rules:
                    result = rules[step.number](values, self)
                elif any(number in changed for number in step.inputs):
                    result = step.run(values)
                else:
                    continue
                changed.update(step.outputs)
                self.store(values, step, result)
        return values[self.tape.loss]

    def gradients(self, rules: Mapping[int, Rule]) -> dict[str, Tensor]:
        """Return the gradients of the wanted inputs where some steps follow other rules."""
        loss = self.loss(rules)
        leaves = [self.values[self.tape.leaves[name]] for name in self.wanted]
        if not loss.requires_grad:
            return {name: torch.zeros_like(leaf) for name, leaf in zip(self.wanted, leaves, strict=True)}
        found = torch.autograd.grad(loss.sum(), leaves, retain_graph=True, allow_unused=True)
        return {
            name: torch.zeros_like(leaf) if gradient is None else gradient
            for name, leaf, gradient in zip(self.wanted, leaves, found, strict=True)
        }

    @cached_property
    def groups(self) -> list[tuple[Step, ...]]:
        """All turns of each operation."""
        found: dict[tuple[object, ...], list[Step]] = {}
        for step in self.tape.steps:
            found.setdefault((step.name, step.place), []).append(step)
        return [tuple(group) for group in found.values()]

    @cached_property
    def _makers(self) -> dict[int, Step]:
        return {number: step for step in self.tape.steps for number in step.outputs}

    def maker(self, number: int) -> Step | None:
        """Return the step that computes a value; None if it is an input or a constant."""
        return self._makers.get(number)

    def at(self, step: Step) -> Local:
        """Return one step of the unchanged computation."""
        if step not in self._locals:
            self._locals[step] = Local(step, self.values, self)
        return self._locals[step]

    def pulled(self, operands: Sequence[Tensor], differences: Sequence[Tensor]) -> dict[str, Tensor]:
        """Return the gradients of the wanted inputs where values of the computation get so much more gradient."""
        leaves = [self.values[self.tape.leaves[name]] for name in self.wanted]
        more = torch.autograd.grad(operands, leaves, differences, retain_graph=True, allow_unused=True)
        return {
            name: self.base[name] if each is None else self.base[name] + each
            for name, each in zip(self.wanted, more, strict=True)
        }

    def _upstream(self) -> dict[int, Tensor]:
        """Return the gradient of the loss with respect to every value that has one."""
        numbers = [number for number, value in self.values.items() if value.requires_grad]
        loss = self.values[self.tape.loss]
        if not loss.requires_grad:
            return {}
        found = torch.autograd.grad(
            loss.sum(), [self.values[number] for number in numbers], retain_graph=True, allow_unused=True
        )
        return {number: gradient for number, gradient in zip(numbers, found, strict=True) if gradient is not None}

    @staticmethod
    def store(values: dict[int, Tensor], step: Step, result: Any) -> None:
        """Keep what a step computes under the numbers of its outputs."""
        tensors = [item for item in tree_flatten(result)[0] if isinstance(item, Tensor)]
        values.update(zip(step.outputs, tensors, strict=True))


def reads(tape: Tape, number: int) -> list[Step]:
    """Return the steps that read a value."""
    return [step for step in tape.steps if any(isinstance(item, Ref) and item.number == number for item in step.flat)]
