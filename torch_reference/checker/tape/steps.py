"""The steps of a tape: one operation each as PyTorch dispatches it, and the line of `reference` that caused it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from torch_reference.checker.reference.private import TreeSpec, name_of, tree_unflatten


@dataclass(frozen=True)
class Ref:
    """The number of a value on the tape."""

    number: int


@dataclass(frozen=True)
class Place:
    """Where a step comes from.

    Attributes
    ----------
    call : str
        The function that the reference called: relu, layer_norm, matmul.
    line : int
        The line of the call; 0 where there is none.
    text : str
        That line.
    formula : str
        The line of the composite operation's formula.
    outer : int
        The line of `reference` where that is another one, because `reference` called a function that made the call.
    spot : tuple of int
        The instructions of the call and of the formula, and which of several equal operations of one call it is: the
        same for all turns of a loop.
    """

    call: str
    line: int
    text: str
    formula: str
    outer: int
    spot: tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Step:
    """One operation: `outputs` = func(args), with references to values among the flattened arguments."""

    number: int
    func: Any
    flat: tuple[Any, ...]
    spec: TreeSpec
    outputs: tuple[int, ...]
    place: Place
    constant: bool

    @property
    def name(self) -> str:
        """The name of the operation in PyTorch's own library."""
        named = getattr(self.func, "name", getattr(self.func, "__name__", ""))  # a function that is no operator
        return name_of(self.func) if hasattr(self.func, "_schema") else str(named)

    @property
    def inputs(self) -> list[int]:
        """The numbers of the values that it reads."""
        return [item.number for item in self.flat if isinstance(item, Ref)]

    def run(self, values: Mapping[int, torch.Tensor], operands: Sequence[torch.Tensor] | None = None) -> Any:
        """Run the operation on given values; `operands` take the place of the floating ones, in their order."""
        args, kwargs = self._filled(values, operands)
        if not self.constant:
            return self.func(*args, **kwargs)
        with torch.no_grad():
            return self.func(*args, **kwargs)

    def arguments(self, values: Mapping[int, torch.Tensor]) -> tuple[Any, ...]:
        """Return the positional arguments, with given values."""
        return tuple(self._filled(values)[0])

    @cached_property
    def _unnested(self) -> bool:
        """Whether there are positional arguments alone, and no lists among them: those need no tree."""
        args, kwargs = tree_unflatten(self.flat, self.spec)
        return not kwargs and not any(isinstance(each, list | tuple) for each in args)

    def _filled(self, values: Mapping[int, torch.Tensor], operands: Sequence[torch.Tensor] | None = None) -> Any:
        flat = [values[item.number] if isinstance(item, Ref) else item for item in self.flat]
        if operands is not None:
            others = iter(operands)
            flat = [
                next(others) if isinstance(item, Ref) and filled.is_floating_point() else filled
                for item, filled in zip(self.flat, flat, strict=True)
            ]
        return (flat, {}) if self._unnested else tree_unflatten(flat, self.spec)


@dataclass(frozen=True, eq=False)
class Tape:
    """All steps that the loss may depend on.

    Attributes
    ----------
    steps : list of Step
        In the order in which they ran.
    leaves : dict of str to int
        The numbers of the floating inputs.
    constants : dict of int to tensor
        The floating arrays that are read, but depend on no input: the state before a recurrence starts.
    loss : int
        The number of the loss.
    """

    steps: list[Step]
    leaves: dict[str, int]
    constants: dict[int, torch.Tensor]
    loss: int
