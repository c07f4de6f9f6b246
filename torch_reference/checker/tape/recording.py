"""Record the reference's forward pass as a list of steps, each with the line of `reference` that caused it.

A step is one operation as PyTorch dispatches it, or one line of the formula of a composite operation (`formulas`).
Operations in place are recorded by what they compute, which `torch.func.functionalize` sees to.
"""

import inspect
import linecache
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from torch_reference.checker.reference.evaluation import Reference
from torch_reference.checker.reference.modes import Mode
from torch_reference.checker.reference.private import overload_of, pure, tree_flatten
from torch_reference.checker.tape.calls import CALLS
from torch_reference.checker.tape.formulas import FORMULAS
from torch_reference.checker.tape.steps import Place, Ref, Step, Tape

TORCH = str(Path(torch.__file__).parent)
HOUSE = str(Path(__file__).parents[1])
FORMULA_FILES = {sys.modules[formula.__module__].__file__ for formula in (*FORMULAS.values(), *CALLS.values())}


class _Calls(TorchFunctionMode):
    """Keeps the name of the outermost function that runs; runs the formulas of those that are not dispatched."""

    def __init__(self, composite: bool) -> None:
        super().__init__()
        self.name, self.composite = "", composite
        self.operations: Counter[str] = Counter()  # how often this call has run each

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.name, self.operations = getattr(func, "__name__", "").strip("_"), Counter()
        formula = None if self.composite else CALLS.get(func)
        found = formula(*args, **(kwargs or {})) if formula else NotImplemented
        return func(*args, **(kwargs or {})) if found is NotImplemented else found


class _Recorder(Mode):
    def __init__(self, names: _Calls, code: Any, composite: bool) -> None:
        super().__init__()
        self.names, self.code, self.composite = names, code, composite
        self.steps: list[Step] = []
        self.numbers: dict[int, int] = {}
        self.alive: list[torch.Tensor] = []
        self.constants: dict[int, torch.Tensor] = {}

    def number(self, tensor: torch.Tensor) -> int:
        """Give a tensor a number, and keep it, so that no other gets its address."""
        self.alive.append(tensor)
        self.numbers[id(tensor)] = len(self.alive) - 1
        return len(self.alive) - 1

    def run(self, operator: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run one operation, composite ones by their parts, and write it down if it depends on a leaf."""
        flat, spec = tree_flatten((args, kwargs))
        if not any(self._depends(item) for item in flat):
            return operator(*args, **kwargs)
        formula = None if self.composite else FORMULAS.get(overload_of(operator), FORMULAS.get(name))
        for parts in (formula, operator.decompose):
            with self:
                found = parts(*args, **kwargs) if parts else NotImplemented
            if found is not NotImplemented:
                return found
        own = pure(operator)
        if own is not operator and not self._depends(flat[0]):
            flat[0] = flat[0].clone()  # before it is overwritten
        refs = tuple(self._ref(item) for item in flat)
        result = operator(*args, **kwargs)
        outputs = tuple(self.number(item) for item in tree_flatten(result)[0] if isinstance(item, torch.Tensor))
        place = self._place(sys._getframe(), name)
        self.steps.append(Step(len(self.steps), own, refs, spec, outputs, place, not torch.is_grad_enabled()))
        return result

    def _depends(self, item: Any) -> bool:
        """Say whether something is a tensor that depends on an input."""
        number = self.numbers.get(id(item)) if isinstance(item, torch.Tensor) else None
        return number is not None and number not in self.constants

    def _ref(self, item: Any) -> Any:
        if not isinstance(item, torch.Tensor):
            return item
        if id(item) not in self.numbers:
            if not item.is_floating_point() or not item.dim():
                return item
            self.constants[self.number(item)] = item
        return Ref(self.numbers[id(item)])

    def _place(self, frame: FrameType | None, name: str) -> Place:
        """Find the innermost line outside PyTorch, the line of the formula below it and that of `reference` above."""
        line, text, formula, outer, spot, inner = 0, "", "", 0, 0, 0
        self.names.operations[name] += 1
        while frame is not None:
            file = frame.f_code.co_filename
            if file in FORMULA_FILES:
                formula, inner = formula or linecache.getline(file, frame.f_lineno).strip(), inner or frame.f_lasti
            elif not line and not file.startswith((TORCH, HOUSE, "<frozen")):
                line, text, spot = frame.f_lineno, linecache.getline(file, frame.f_lineno).strip(), frame.f_lasti
            if frame.f_code is self.code and frame.f_lineno != line:
                outer = frame.f_lineno
            if frame.f_code is self.code:
                break
            frame = frame.f_back
        return Place(self.names.name or name, line, text, formula, outer, (spot, inner, self.names.operations[name]))


def record(reference: Reference, composite: bool = False) -> tuple[Tape, dict[str, torch.Tensor]]:
    """Run the reference and write down its steps; return them with the inputs that it got.

    Parameters
    ----------
    reference : Reference
        The loss; its floating inputs become leaves.
    composite : bool
        Keep composite operations as one step, instead of their formulas.

    Raises
    ------
    Exception
        Whatever the reference raises because it runs under a recorder.
    """
    tensors = reference.tensors()
    function = getattr(reference.function, "__func__", reference.function)
    names = _Calls(composite)
    recorder = _Recorder(names, getattr(inspect.unwrap(function), "__code__", None), composite)
    leaves = {name: recorder.number(tensor) for name, tensor in tensors.items() if tensor.is_floating_point()}

    def call(*values: torch.Tensor) -> Any:
        return reference.function(**dict(zip(tensors, values, strict=True)))

    with names, reference.evaluating((recorder,)):
        loss = torch.func.functionalize(call, remove="mutations")(*tensors.values())
    if id(loss) not in recorder.numbers:
        raise TypeError("the loss was not computed by recorded steps")
    number = recorder.numbers[id(loss)]
    return Tape(_needed(recorder.steps, number), leaves, recorder.constants, number), tensors


def _needed(steps: list[Step], loss: int) -> list[Step]:
    """Return the steps that the loss depends on, numbered anew."""
    needed, kept = {loss}, []
    for step in reversed(steps):
        if needed.intersection(step.outputs):
            needed.update(step.inputs)
            kept.append(step)
    return [replace(step, number=number) for number, step in enumerate(reversed(kept))]
