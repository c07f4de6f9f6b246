"""The reference's arithmetic with a little noise on every result.

The noise enters every operation that PyTorch dispatches, in the forward and in the backward pass, so that the rounding
of intermediate results counts and not only that of the inputs.
"""

import math
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch

from torch_reference.checker.formats import format_of
from torch_reference.checker.reference.modes import Mode
from torch_reference.checker.reference.operations import ACTIVATIONS, FUSED, SELECTIONS, partial_sums, sums_by_result
from torch_reference.checker.reference.private import decomposition, returns_of
from torch_reference.checker.reference.reading import checksum

BACKWARD = ("_backward", "_backward_data")
LARGE = 2**18  # entries of a product of matrices above which a cheaper noise does


class RoundingNoise(Mode):
    """Multiply every result of floating arithmetic by 1 + amplitude * r, with r uniform in [-1, 1).

    This is Monte Carlo arithmetic (Parker, 1997): the scatter of the final result over several seeds is the error that
    rounding by `amplitude` causes to first order. A sum of n terms t_k in sequence rounds each partial sum; for terms
    of random sign that is an error of amplitude * sqrt(n / 2) * sqrt(sum t_k^2), for terms of one sign
    amplitude * sqrt(n / 3) * |sum t_k|: hence the noise on the operands and on the result of sums and products of
    matrices.

    r is a hash of the value's bits: equal values stay equal, and zeros zero, so that ties and dead units survive.

    Parameters
    ----------
    amplitude : float
        Relative size of the noise.
    seed : int
        Seed of the hash.
    finite : bool
        Whether the computation meets no infinity or NaN; saves looking for them.
    decompose : bool
        Give noise to every step inside the operations that PyTorch fuses, too.

    Attributes
    ----------
    decisions : int
        Checksum of all decisions that the computation took (which side of zero, which one is the largest).
    """

    def __init__(self, amplitude: float, seed: int, finite: bool = False, decompose: bool = False) -> None:
        super().__init__()
        self.amplitude = amplitude
        self.decompose = decompose
        self.finite = finite
        self.decisions = 0
        self._inputs: set[int] = set()
        self._multiplier = int(np.random.default_rng(seed).integers(2**63)) * 2 + 1
        self._salt = 0

    def begin(self, inputs: Iterable[torch.Tensor]) -> None:
        """Remember where the inputs lie: only sums get them without noise of their own."""
        self._inputs = {value.untyped_storage().data_ptr() for value in inputs}

    def jitter(self, tensor: torch.Tensor, terms: float = 1.0, scale: torch.Tensor | None = None) -> torch.Tensor:
        """Return the tensor with noise of size amplitude * sqrt(terms), relative to itself or to `scale`."""
        if tensor.is_complex():
            return torch.view_as_complex(self.jitter(torch.view_as_real(tensor.resolve_conj()), terms))
        if not tensor.is_floating_point():
            return tensor
        return self._with(self._noise(tensor), tensor, terms, tensor if scale is None else scale)

    def _partial_sums(self, tensor: torch.Tensor, axes: tuple[int, ...], terms: float | torch.Tensor) -> torch.Tensor:
        """Return an operand with the noise of the partial sums over some of its axes.

        The noise of a term depends on its place in the sum too, so that equal terms round differently, but equal rows
        do not.
        """
        if not tensor.is_floating_point() or not tensor.dim():
            return tensor
        shape = [size if axis in axes else 1 for axis, size in enumerate(tensor.shape)]
        places = torch.arange(math.prod(shape), dtype=format_of(tensor.dtype).integer).reshape(shape)
        noise = self._noise(tensor, places)
        if isinstance(terms, torch.Tensor):
            return self._with(noise.mul_(terms.to(tensor.dtype).sqrt_()), tensor, 0.5, tensor)
        return self._with(noise, tensor, terms / 2, tensor)

    def _by_row(self, product: torch.Tensor, terms: float) -> torch.Tensor:
        """Give each row of a product of matrices a common noise, in place: one pass over what may be large."""
        noise = self._noise(product[..., :1]).mul_(self._size(product, terms))
        return product.mul_(noise.add_(1.0))

    def _with(self, noise: torch.Tensor, tensor: torch.Tensor, terms: float, scale: torch.Tensor) -> torch.Tensor:
        """Return tensor + amplitude * sqrt(terms) * noise * scale; infinities stay."""
        result = torch.addcmul(tensor, noise, scale, value=self._size(tensor, terms))
        return result if self.finite else torch.where(torch.isfinite(tensor), result, tensor)

    def _size(self, tensor: torch.Tensor, terms: float) -> float:
        """Return amplitude * sqrt(terms) in units of the hash."""
        return self.amplitude * math.sqrt(terms) * 2.0 ** (1 - format_of(tensor.dtype).bits)

    def _noise(self, tensor: torch.Tensor, places: torch.Tensor | None = None) -> torch.Tensor:
        """Return a hash of the values: integers that fill the width of the dtype evenly, as floating numbers."""
        of = format_of(tensor.dtype)
        integers, width = of.integer, of.bits
        multiplier = ((self._multiplier ^ self._salt) >> (64 - width)) | 1
        multiplier -= 2**width if multiplier >> (width - 1) else 0
        odd: Any = multiplier if places is None else 2 * (places * multiplier) + 1
        return (tensor.contiguous().view(integers) * odd).to(tensor.dtype)

    def run(self, operator: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run one operation with noise."""
        if self.decompose:  # equal results of different operations were rounded apart
            self._salt = zlib.crc32(name.encode()) * 0x100000001
        steps = decomposition(operator) if self.decompose and name in FUSED else None
        if not steps and (sums := sums_by_result(name, args)):
            return self._one_by_one(operator, args, kwargs, sums)
        terms, place, axes = partial_sums(name, args)
        returned = returns_of(operator)
        noisy = list(args)
        if axes:
            noisy[place] = self._partial_sums(args[place], axes, terms)
        elif name not in SELECTIONS and not any(returned):
            noisy = [self.jitter(operand) if self._is_input(operand) else operand for operand in args]
        if name in FUSED and not steps and name.endswith(BACKWARD):  # what happens inside starts with this product
            noisy[0] = self.jitter(noisy[0])
        result = self._by_steps(steps, noisy, kwargs) if steps else operator(*noisy, **kwargs)
        results = result if isinstance(result, tuple) else (result,)
        self.decisions = checksum(self.decisions, name, args, results)
        if name in SELECTIONS or len(results) != len(returned):
            return result
        partial = 1.0 if isinstance(terms, torch.Tensor) else max(1.0, terms / 3)
        scale = args[0] if name in ACTIVATIONS else None
        results = tuple(
            self._rounded(tensor, alias, partial, scale) for tensor, alias in zip(results, returned, strict=True)
        )
        return results if isinstance(result, tuple) else results[0]

    def _one_by_one(self, operator: Any, args: tuple[Any, ...], kwargs: dict[str, Any], sums: Any) -> tuple[Any, ...]:
        """Run a backward pass once for each of its results, each with the noise of its own sums."""
        results: list[Any] = [None] * len(sums)
        for number, ((terms, axes), wanted) in enumerate(zip(sums, args[-1], strict=True)):
            if wanted:
                gradient, *others = (self.jitter(operand) if self._is_input(operand) else operand for operand in args)
                gradient = self._partial_sums(gradient, axes, terms) if axes else self.jitter(gradient)
                mask = [other == number for other in range(len(sums))]
                result = operator(gradient, *others[:-1], mask, **kwargs)[number]
                results[number] = self.jitter(result, max(1.0, terms / 3))
        return tuple(results)

    def _by_steps(self, steps: Any, args: list[Any], kwargs: dict[str, Any]) -> Any:
        """Run a fused operation by steps, each with noise; the decisions inside are not those of the loss."""
        decisions = self.decisions
        with self:
            result = steps(*args, **kwargs)
        self.decisions = decisions
        return result

    def _is_input(self, operand: Any) -> bool:
        return isinstance(operand, torch.Tensor) and operand.untyped_storage().data_ptr() in self._inputs

    def _rounded(self, result: Any, alias: Any, terms: float, scale: torch.Tensor | None) -> Any:
        """Return a result with noise: a fresh tensor, the one written to, or (a view) nothing new."""
        if not isinstance(result, torch.Tensor) or not (result.is_floating_point() or result.is_complex()):
            return result
        if alias is None:
            large = terms > 1 and result.numel() >= LARGE and result.dim() and result.is_floating_point()
            return self._by_row(result, terms) if large else self.jitter(result, terms, scale)
        if alias.is_write:
            result.copy_(self.jitter(result))
        return result
