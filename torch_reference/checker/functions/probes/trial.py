"""What a probe works with: a function, the point, and its plain answer there."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from torch_reference.checker.formats import Array, format_of
from torch_reference.checker.functions.probes.calls import Answer, Function, Tensors, called, same

Findings = dict[str, str]
COARSE = 16.0  # roundings of the largest entry: a sum of parts may cancel, and faults of this kind are gross


@dataclass(frozen=True, eq=False)
class Trial:
    """A function at one point.

    Attributes
    ----------
    function : callable
        The function under test.
    inputs : dict
        Its inputs by name, in their order.
    upstream : dict of str to tensor
        The upstream gradient of each differentiable output.
    wanted : tuple of str
        The inputs whose gradients are asked for.
    seed : int
        Seed of PyTorch's generators before each call.
    answer : Answer
        What the function returns at this point.
    allowed : callable
        `allowed(name)` is how far two right answers may differ, for an output or a gradient.
    """

    function: Function
    inputs: dict[str, Any]
    upstream: Tensors
    wanted: tuple[str, ...]
    seed: int
    answer: Answer
    allowed: Callable[[str], Array]

    def ask(
        self,
        inputs: Mapping[str, Any] | None = None,
        upstream: Tensors | None = None,
        wanted: Iterable[str] | None = None,
    ) -> Answer:
        """Call the function with something changed."""
        return called(
            self.function,
            self.inputs if inputs is None else inputs,
            self.upstream if upstream is None else upstream,
            self.wanted if wanted is None else wanted,
            self.seed,
        )

    def differing(self, answer: Answer, plain: Answer | None = None) -> list[str]:
        """Return the outputs and gradients that differ from those of the plain answer by more than rounding."""
        plain = plain or self.answer
        pairs: list[tuple[str, torch.Tensor | None, torch.Tensor | None]] = [
            (name, answer.outputs.get(name), value) for name, value in plain.outputs.items()
        ]
        pairs += [(name, value, plain.gradients[name]) for name, value in answer.gradients.items()]
        return [name for name, one, other in pairs if not self.alike(name, one, other)]

    def alike(self, name: str, one: torch.Tensor | None, other: torch.Tensor | None) -> bool:
        """Say whether two answers for one output or gradient are the same to rounding; None counts as zero."""
        if one is None or other is None:
            rest = one if other is None else other
            return rest is None or not bool(rest.any())
        if one.shape != other.shape:
            return False
        if same(one, other):
            return True
        return within(array(one), array(other), self.allowed(name) if one.is_floating_point() else None)

    def adds_up(self, name: str, parts: list[torch.Tensor | None], times: float = 1) -> bool:
        """Say whether some answers add up to so many times the plain one, to some roundings of the largest."""
        whole = self.answer.gradients[name]
        found = [part for part in parts if part is not None]
        if whole is None or not found:
            return not any(bool(part.any()) for part in found) and (whole is None or not bool(whole.any()))
        slack = COARSE * format_of(whole.dtype).epsilon * sum(largest(numpy(part)) for part in found)
        rest = -times * whole.detach().to(torch.promote_types(whole.dtype, torch.float32))
        for part in found:
            rest += part
        if not rest.numel() or bool(rest.abs_().max() <= slack):
            return True
        with np.errstate(invalid="ignore", over="ignore"):
            total = np.sum([array(part) for part in found], axis=0)
            return within(total, times * array(whole), 2 * times * self.allowed(name) + slack)


def array(tensor: torch.Tensor) -> Array:
    """Return a tensor's entries as they are."""
    return tensor.detach().cpu().to(torch.float64).numpy()


def numpy(tensor: torch.Tensor) -> NDArray[Any]:
    """Return a tensor as NumPy has it: its own memory where that is possible."""
    tensor = tensor.detach().cpu()
    return tensor.float().numpy() if tensor.dtype == torch.bfloat16 else tensor.numpy()


def largest(values: NDArray[Any]) -> float:
    """Return the size of the largest finite entry."""
    found = max(float(values.max(initial=0.0)), -float(values.min(initial=0.0)))
    return found if math.isfinite(found) else float(np.abs(values[np.isfinite(values)]).max(initial=0.0))


def within(one: Array, other: Array, allowed: Array | None) -> bool:
    """Say whether two arrays differ by no more than allowed; equal infinities and NaN are no difference."""
    equal = (one == other) | (np.isnan(one) & np.isnan(other))
    if allowed is None or equal.all():
        return bool(equal.all())
    with np.errstate(invalid="ignore"):
        return bool((equal | (np.abs(one - other) <= allowed)).all())
