"""Noise on one tensor: as large as rounding, the same whenever it is asked for, and kind to zeros and infinities."""

import math
import struct
import zlib
from typing import Any

import numpy as np
import torch

from torch_reference.checker.formats import format_of

LARGE = 2**18  # entries from which a cheaper noise does
SHORT = 2.0**20  # constants whose mantissa has no more bits than this are exact in most formats
PERIOD = 65521  # of that noise: a prime, so that no two rows or columns of a usual size get the same


class Jitter:
    """Moves the entries of a tensor by a relative amplitude * r, with r uniform in [-1, 1).

    r is a hash of the value's bits: equal values stay equal, and zeros zero, so that ties and dead units survive. In
    large tensors it is a long pattern that repeats, which takes one pass instead of four: there only zeros survive.

    Parameters
    ----------
    amplitude : float
        Relative size of the noise.
    seed : int
        Seed of r.
    finite : bool
        Whether there are no infinities or NaN; saves looking for them.

    Attributes
    ----------
    salt : int
        Changes the hash, so that equal values move apart.
    """

    def __init__(self, amplitude: float, seed: int, finite: bool) -> None:
        self.amplitude = amplitude
        self.finite = finite
        self.salt = 0
        self._rng = np.random.default_rng(seed)
        self._multiplier = int(self._rng.integers(2**63)) * 2 | 1
        self._pattern: torch.Tensor | None = None

    def moved(
        self, tensor: torch.Tensor, terms: float = 1.0, scale: torch.Tensor | None = None, fresh: bool = False
    ) -> torch.Tensor:
        """Return the tensor with noise.

        Parameters
        ----------
        tensor : tensor
            What is moved; no copy if it holds no floating numbers.
        terms : float
            The noise is sqrt(terms) times as large.
        scale : tensor, optional
            What it is relative to, if not the tensor itself.
        fresh : bool
            Whether the tensor may be changed.
        """
        if tensor.is_complex():
            return torch.view_as_complex(self.moved(torch.view_as_real(tensor.resolve_conj()), terms))
        if not tensor.is_floating_point():
            return tensor
        if scale is None and _is_large(tensor):
            return self._by_pattern(tensor, terms, fresh)
        return self._with(self._hash(tensor), tensor, terms, tensor if scale is None else scale)

    def constant(self, number: Any) -> Any:
        """Return a constant of a formula as somebody else may have rounded it; short ones are exact, such as 0.5 or 3.

        The noise depends on the number alone, so that it is the same wherever it stands.
        """
        if not isinstance(number, float) or (math.frexp(number)[0] * SHORT).is_integer():
            return number
        bits = zlib.crc32(struct.pack("<d", number)) * self._multiplier % 2**32
        return number * (1 + self.amplitude * (bits / 2**31 - 1))

    def of_terms(self, tensor: torch.Tensor, axes: tuple[int, ...], terms: float | torch.Tensor) -> torch.Tensor:
        """Return an operand with the noise of the partial sums over some of its axes.

        The noise of a term depends on its place in the sum too, so that equal terms round differently, but equal rows
        do not.
        """
        if not tensor.is_floating_point() or not tensor.dim():
            return tensor
        if not isinstance(terms, torch.Tensor) and _is_large(tensor):
            return self._by_pattern(tensor, terms / 2, fresh=False)
        shape = [size if axis in axes else 1 for axis, size in enumerate(tensor.shape)]
        places = torch.arange(math.prod(shape), dtype=format_of(tensor.dtype).integer).reshape(shape)
        noise = self._hash(tensor, places)
        if isinstance(terms, torch.Tensor):
            return self._with(noise.mul_(terms.to(tensor.dtype).sqrt_()), tensor, 0.5, tensor)
        return self._with(noise, tensor, terms / 2, tensor)

    def of_means(self, tensor: torch.Tensor, axes: tuple[int, ...]) -> torch.Tensor:
        """Change a tensor that had a mean over some axes subtracted: the mean is rounded in all entries alike.

        A sum of m terms of size t has an error of amplitude * sqrt(m / 2) * sqrt(m) t, and the mean an m-th of that.
        """
        count = math.prod(tensor.shape[axis] for axis in axes)
        size = torch.linalg.vector_norm(tensor, dim=axes, keepdim=True) / math.sqrt(max(1, count))
        return tensor.add_(self._hash(size).mul_(size), alpha=self._unit(tensor, 0.5))

    def _by_pattern(self, tensor: torch.Tensor, terms: float, fresh: bool) -> torch.Tensor:
        if self._pattern is None:
            self._pattern = torch.from_numpy(self._rng.uniform(-1, 1, PERIOD))
        self._pattern = self._pattern.roll(7919)  # another prime: results of different operations move apart
        pattern = (self._pattern * (self.amplitude * math.sqrt(terms))).add_(1.0)
        result = tensor if fresh else torch.empty_like(tensor)
        whole = tensor.numel() // PERIOD * PERIOD
        pattern, given, moved = pattern.to(tensor.dtype), tensor.view(-1), result.view(-1)
        torch.mul(given[:whole].view(-1, PERIOD), pattern, out=moved[:whole].view(-1, PERIOD))
        torch.mul(given[whole:], pattern[: tensor.numel() - whole], out=moved[whole:])
        return result

    def _with(self, noise: torch.Tensor, tensor: torch.Tensor, terms: float, scale: torch.Tensor) -> torch.Tensor:
        """Return tensor + amplitude * sqrt(terms) * noise * scale; infinities stay."""
        result = torch.addcmul(tensor, noise, scale, value=self._unit(tensor, terms))
        return result if self.finite else torch.where(torch.isfinite(tensor), result, tensor)

    def _unit(self, tensor: torch.Tensor, terms: float) -> float:
        """Return amplitude * sqrt(terms) in units of the hash."""
        return self.amplitude * math.sqrt(terms) * 2.0 ** (1 - format_of(tensor.dtype).bits)

    def _hash(self, tensor: torch.Tensor, places: torch.Tensor | None = None) -> torch.Tensor:
        """Return a hash of the values: integers that fill the width of the dtype evenly, as floating numbers."""
        of = format_of(tensor.dtype)
        multiplier = ((self._multiplier ^ self.salt) >> (64 - of.bits)) | 1
        multiplier -= multiplier >> (of.bits - 1) << of.bits  # the same bits as a signed number
        odd: Any = multiplier if places is None else 2 * places * multiplier | 1
        return (tensor.contiguous().view(of.integer) * odd).to(tensor.dtype)


def _is_large(tensor: torch.Tensor) -> bool:
    return tensor.numel() >= LARGE and tensor.is_contiguous()
