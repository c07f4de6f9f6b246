"""The reference's arithmetic with a little noise on every result.

The noise enters every operation that PyTorch dispatches, in the forward and in the backward pass, so that the rounding
of intermediate results counts and not only that of the inputs.
"""

import zlib
from collections.abc import Iterable, Set
from typing import Any

import torch

from torch_reference.checker.reference.jitter import Jitter
from torch_reference.checker.reference.modes import Mode
from torch_reference.checker.reference.operations import (
    ACTIVATIONS,
    FUSED,
    SELECTIONS,
    centred_axes,
    partial_sums,
    sums_by_result,
)
from torch_reference.checker.reference.private import decomposition, returns_of
from torch_reference.checker.reference.reading import checksum

BACKWARD = ("_backward", "_backward_data")


class RoundingNoise(Mode):
    """Multiply every result of floating arithmetic by 1 + amplitude * r, with r uniform in [-1, 1).

    This is Monte Carlo arithmetic (Parker, 1997): the scatter of the final result over several seeds is the error that
    rounding by `amplitude` causes to first order. A sum of n terms t_k in sequence rounds each partial sum; for terms
    of random sign that is an error of amplitude * sqrt(n / 2) * sqrt(sum t_k^2), for terms of one sign
    amplitude * sqrt(n / 3) * |sum t_k|: hence the noise on the operands and on the result of sums and products of
    matrices.

    `Jitter` makes the noise.

    Parameters
    ----------
    amplitude : float
        Relative size of the noise.
    seed : int
        Seed of the hash.
    finite : bool
        Whether the computation meets no infinity or NaN; saves looking for them.
    decompose : set of str
        Give noise to every step inside these operations that PyTorch fuses, too.

    Attributes
    ----------
    decisions : int
        Checksum of all decisions that the computation took (which side of zero, which one is the largest).
    """

    def __init__(self, amplitude: float, seed: int, finite: bool = False, decompose: Set[str] = frozenset()) -> None:
        super().__init__()
        self.jitter = Jitter(amplitude, seed, finite)
        self.decompose = decompose
        self.decisions = 0
        self._inputs: set[int] = set()
        self._taken_apart = False

    def begin(self, inputs: Iterable[torch.Tensor]) -> None:
        """Remember where the inputs lie: only sums get them without noise of their own."""
        self._inputs = {value.untyped_storage().data_ptr() for value in inputs}

    def run(self, operator: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run one operation with noise."""
        if self.decompose:  # equal results of different operations were rounded apart
            self.jitter.salt = zlib.crc32(name.encode()) * 0x100000001
        steps = decomposition(operator) if name in self.decompose else None
        if not steps and (sums := sums_by_result(name, args)):
            return self._one_by_one(operator, name, args, kwargs, sums)
        terms, place, axes = partial_sums(name, args)
        returned = returns_of(operator)
        noisy = list(args)
        if axes:
            noisy[place] = self.jitter.of_terms(args[place], axes, terms)
        elif name not in SELECTIONS and not any(returned):
            moved = (self.jitter.moved(operand) if self._is_input(operand) else operand for operand in args)
            noisy = [self.jitter.constant(operand) for operand in moved]
        if name in FUSED and not steps and name.endswith(BACKWARD):  # what happens inside starts with this product
            noisy[0] = self.jitter.moved(noisy[0])
        try:
            result = self._by_steps(steps, noisy, kwargs) if steps else operator(*noisy, **kwargs)
        except RuntimeError:  # noise led an operand out of the operator's domain: a probability above 1
            result = operator(*args, **kwargs)
        results = result if isinstance(result, tuple) else (result,)
        if not self._taken_apart:
            self.decisions = checksum(self.decisions, name, args, results)
        if name in SELECTIONS or len(results) != len(returned):
            return result
        partial = 1.0 if isinstance(terms, torch.Tensor) else max(1.0, terms / 3)
        scale = args[0] if name in ACTIVATIONS else None
        results = tuple(
            self._rounded(tensor, alias, partial, scale) for tensor, alias in zip(results, returned, strict=True)
        )
        return results if isinstance(result, tuple) else results[0]

    def _one_by_one(
        self, operator: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any], sums: Any
    ) -> tuple[Any, ...]:
        """Run a backward pass once for its results that are added up alike, with the noise of their sums and means."""
        results: list[Any] = [None] * len(sums)
        gradient, *others = (self.jitter.moved(operand) if self._is_input(operand) else operand for operand in args)
        for terms, axes in dict.fromkeys(sums):
            mask = [wanted and alike == (terms, axes) for alike, wanted in zip(sums, args[-1], strict=True)]
            if any(mask):
                noisy = self.jitter.of_terms(gradient, axes, terms) if axes else self.jitter.moved(gradient)
                found = operator(noisy, *others[:-1], mask, **kwargs)
                for number in (number for number, wanted in enumerate(mask) if wanted):
                    results[number] = self.jitter.moved(found[number], max(1.0, terms / 3), fresh=True)
        if results[0] is not None and (means := centred_axes(name, args)):
            results[0] = self.jitter.of_means(results[0], means)
        return tuple(results)

    def _by_steps(self, steps: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """Run a fused operation by steps, each with noise; the decisions inside are not those of the loss."""
        self._taken_apart = True
        try:
            with self:
                return steps(*args, **kwargs)
        finally:
            self._taken_apart = False

    def _is_input(self, operand: Any) -> bool:
        return isinstance(operand, torch.Tensor) and operand.untyped_storage().data_ptr() in self._inputs

    def _rounded(self, result: Any, alias: Any, terms: float, scale: torch.Tensor | None) -> Any:
        """Return a result with noise: a fresh tensor, the one written to, or (a view) nothing new."""
        if not isinstance(result, torch.Tensor) or not (result.is_floating_point() or result.is_complex()):
            return result
        if alias is None:
            return self.jitter.moved(result, terms, scale, fresh=True)
        if alias.is_write and (moved := self.jitter.moved(result, fresh=True)) is not result:
            result.copy_(moved)
        return result
