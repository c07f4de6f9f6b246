"""Evaluate a computation in another precision than it names, or with that precision's rounding taken by chance."""

from typing import Any

import torch

from torch_reference.checker.formats import FLOAT16, FLOAT32, FORMATS, Format, format_of
from torch_reference.checker.reference.modes import Mode
from torch_reference.checker.reference.operations import SELECTIONS
from torch_reference.checker.reference.private import outside_modes, returns_of

FLOATING = {each.tensor for each in FORMATS.values()}
RANDOM = {"rand", "randn", "rand_like", "randn_like"}  # other types draw other numbers from the same seed


class Cast(Mode):
    """Let every cast to a floating type be one to a given type.

    Parameters
    ----------
    to : Format
        The type.
    """

    def __init__(self, to: Format) -> None:
        super().__init__()
        self.to = to

    def run(self, operator: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run one operation."""
        if name in RANDOM:
            return operator(*args, **{**kwargs, "dtype": kwargs.get("dtype") or FLOAT32.tensor})
        if kwargs.get("dtype") in FLOATING:
            kwargs = {**kwargs, "dtype": self.to.tensor}
        return operator(*args, **kwargs)


class ByChance(Mode):
    """Round every result of 16 bits up or down by chance, besides the rounding that it has by itself.

    Sums and products of matrices are accumulated as PyTorch does, in float32, and rounded once.

    Parameters
    ----------
    seed : int
        Seed of the chance.
    """

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.generator = torch.Generator().manual_seed(seed)

    def run(self, operator: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run one operation and shift what it returns by up to half a unit in the last place."""
        result = operator(*args, **kwargs)
        if name in SELECTIONS:
            return result
        results = result if isinstance(result, tuple) else (result,)
        with outside_modes():
            for tensor, alias in zip(results, returns_of(operator), strict=False):
                if isinstance(tensor, torch.Tensor) and tensor.is_floating_point() and (not alias or alias.is_write):
                    self._shift(tensor)
        return result

    def _shift(self, tensor: torch.Tensor) -> None:
        of = format_of(tensor.dtype)
        if of.bits <= FLOAT16.bits and tensor.numel():
            noise = torch.rand(tensor.shape, generator=self.generator).to(tensor.device) - 0.5
            tensor.detach().copy_(tensor.detach().float().mul_(noise.mul_(of.epsilon).add_(1)))
