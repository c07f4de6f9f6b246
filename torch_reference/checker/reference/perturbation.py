"""The reference's arithmetic with a little noise on every result.

The noise enters every operation that PyTorch dispatches, in the forward and in the backward pass, so that the rounding
of intermediate results counts and not only that of the inputs.
"""

import math
import zlib
from typing import Any

import numpy as np
import torch
from torch._decomp import decomposition_table
from torch.utils._python_dispatch import TorchDispatchMode

from torch_reference.checker.reference.decisions import outcomes
from torch_reference.checker.reference.operations import ACTIVATIONS, FUSED, SELECTIONS, partial_sums

LARGE = 2**18  # entries of a product of matrices above which a cheaper noise does
BITS = {torch.float64: torch.int64, torch.float32: torch.int32, torch.float16: torch.int16}


class RoundingNoise(TorchDispatchMode):
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
    coarsest : float
        Machine epsilon of the lowest precision seen.
    finite : bool
        Whether no result was infinite or NaN, found out where the amplitude is zero.
    inputs : set of int
        Addresses of the inputs. Only sums get them without noise of their own.
    """

    def __init__(self, amplitude: float, seed: int, finite: bool = False, decompose: bool = False) -> None:
        super().__init__()
        self.amplitude = amplitude
        self.decompose = decompose
        self.finite = finite
        self.inputs: set[int] = set()
        self.multiplier = int(np.random.default_rng(seed).integers(2**63)) * 2 + 1
        self.salt = 0
        self.decisions = 0
        self.coarsest = 0.0

    def jitter(self, tensor: torch.Tensor, terms: float = 1.0, scale: torch.Tensor | None = None) -> torch.Tensor:
        """Return the tensor with noise of size amplitude * sqrt(terms), relative to itself or to `scale`."""
        if tensor.dtype not in BITS or self.amplitude == 0:
            return tensor
        return self._with(self._noise(tensor), tensor, terms, tensor if scale is None else scale)

    def _partial_sums(self, tensor: torch.Tensor, axes: tuple[int, ...], terms: float | torch.Tensor) -> torch.Tensor:
        """Return an operand with the noise of the partial sums over some of its axes.

        The noise of a term depends on its place in the sum too, so that equal terms round differently, but equal rows
        do not.
        """
        if tensor.dtype not in BITS or self.amplitude == 0 or not tensor.dim():
            return tensor
        shape = [size if axis in axes else 1 for axis, size in enumerate(tensor.shape)]
        places = torch.arange(math.prod(shape), dtype=BITS[tensor.dtype]).reshape(shape)
        noise = self._noise(tensor, places)
        if isinstance(terms, torch.Tensor):
            return self._with(noise.mul_(terms.to(tensor.dtype).sqrt_()), tensor, 0.5, tensor)
        return self._with(noise, tensor, terms / 2, tensor)

    def _by_row(self, product: torch.Tensor, terms: float) -> torch.Tensor:
        """Give each row of a product of matrices a common noise, in place: one pass over what may be large."""
        if product.dtype not in BITS or self.amplitude == 0 or not product.numel():
            return product
        first = product[..., :1] if product.dim() else product
        size = self.amplitude * math.sqrt(terms) * 2.0 ** (1 - torch.finfo(product.dtype).bits)
        return product.mul_(self._noise(first).mul_(size).add_(1.0))

    def _with(self, noise: torch.Tensor, tensor: torch.Tensor, terms: float, scale: torch.Tensor) -> torch.Tensor:
        """Return tensor + amplitude * sqrt(terms) * noise * scale; infinities stay."""
        size = self.amplitude * math.sqrt(terms) * 2.0 ** (1 - torch.finfo(tensor.dtype).bits)
        result = torch.addcmul(tensor, noise, scale, value=size)
        return result if self.finite else torch.where(torch.isfinite(tensor), result, tensor)

    def _noise(self, tensor: torch.Tensor, places: torch.Tensor | None = None) -> torch.Tensor:
        """Return a hash of the values: integers that fill the width of the dtype evenly, as floating numbers."""
        integers = BITS[tensor.dtype]
        width = torch.iinfo(integers).bits
        multiplier = ((self.multiplier ^ self.salt) >> (64 - width)) | 1
        multiplier -= 2**width if multiplier >> (width - 1) else 0
        odd: Any = multiplier if places is None else 2 * (places * multiplier) + 1
        return (tensor.contiguous().view(integers) * odd).to(tensor.dtype)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one operation with noise."""
        name = func._schema.name.removeprefix("aten::")
        if self.decompose:  # equal results of different operations were rounded apart
            self.salt = zlib.crc32(name.encode()) * 0x100000001
        terms, place, axes = partial_sums(name, args)
        noisy = list(args)
        if axes:
            noisy[place] = self._partial_sums(args[place], axes, terms)
        elif (
            self.amplitude
            and name not in SELECTIONS
            and not any(returned.alias_info for returned in func._schema.returns)
        ):
            noisy = [self.jitter(operand) if self._is_input(operand) else operand for operand in args]
        result = self._steps(func, noisy, kwargs) if self._is_fused(func, name) else func(*noisy, **(kwargs or {}))
        results = result if isinstance(result, tuple) else (result,)
        self._note_decisions(name, args, results)
        for tensor in results:
            if isinstance(tensor, torch.Tensor) and tensor.is_floating_point() and tensor.dim() and not self.amplitude:
                self.coarsest = max(self.coarsest, torch.finfo(tensor.dtype).eps)
                self.finite = self.finite and bool(torch.isfinite(tensor.sum()))
        if name in SELECTIONS or len(results) != len(func._schema.returns):
            return result
        partial = 1.0 if isinstance(terms, torch.Tensor) else max(1.0, terms / 3)
        scale = args[0] if name in ACTIVATIONS else None
        results = tuple(
            self._rounded(tensor, returned.alias_info, partial, scale)
            for tensor, returned in zip(results, func._schema.returns, strict=True)
        )
        return results if isinstance(result, tuple) else results[0]

    def _is_fused(self, func: Any, name: str) -> bool:
        return self.decompose and name in FUSED and func in decomposition_table

    def _steps(self, func: Any, args: list[Any], kwargs: dict[str, Any] | None) -> Any:
        """Run a fused operation by steps, each with noise; the decisions inside are not those of the loss."""
        decisions = self.decisions
        with self:
            result = decomposition_table[func](*args, **(kwargs or {}))
        self.decisions = decisions
        return result

    def _note_decisions(self, name: str, args: tuple[Any, ...], results: tuple[Any, ...]) -> None:
        for decision in outcomes(name, args, results):
            self.decisions = zlib.crc32(decision.numpy().tobytes(), self.decisions)

    def _is_input(self, operand: Any) -> bool:
        return isinstance(operand, torch.Tensor) and operand.untyped_storage().data_ptr() in self.inputs

    def _rounded(self, result: Any, alias: Any, terms: float, scale: torch.Tensor | None) -> Any:
        """Return a result with noise: a fresh tensor, the one written to, or (a view) nothing new."""
        if not isinstance(result, torch.Tensor) or result.dtype not in BITS:
            return result
        if alias is None:
            large = terms > 1 and result.numel() >= LARGE
            return self._by_row(result, terms) if large else self.jitter(result, terms, scale)
        if alias.is_write:
            result.copy_(self.jitter(result))
        return result
