"""The number formats that the check knows, PyTorch's and NumPy's. Nothing else knows how precise a type is."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

Array = NDArray[np.float64]  # what the check computes with, whatever it is given


@dataclass(frozen=True)
class Format:
    """One floating format.

    Attributes
    ----------
    name : str
        As PyTorch and NumPy call it.
    epsilon : float
        Distance from 1 to the next larger number.
    spacing : float
        The smallest number above zero, which is the distance between the smallest ones.
    bits : int
        Width of a number.
    tensor : torch dtype
        PyTorch's type; float64 for long doubles, which PyTorch has not.
    integer : torch dtype
        The integer type of the same width as `tensor`, to read its bits.
    """

    name: str
    epsilon: float
    spacing: float
    bits: int
    tensor: torch.dtype
    integer: torch.dtype

    def rounded(self, values: Array) -> Array:
        """Return the nearest numbers of this format."""
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.tensor).double().numpy()


FLOAT64 = Format("float64", 2.0**-52, 2.0**-1074, 64, torch.float64, torch.int64)
FLOAT32 = Format("float32", 2.0**-23, 2.0**-149, 32, torch.float32, torch.int32)
FLOAT16 = Format("float16", 2.0**-10, 2.0**-24, 16, torch.float16, torch.int16)
BFLOAT16 = Format("bfloat16", 2.0**-7, 2.0**-133, 16, torch.bfloat16, torch.int16)
FORMATS = {each.name: each for each in (FLOAT64, FLOAT32, FLOAT16, BFLOAT16)}  # the most precise first


@cache  # asked for every tensor
def format_of(dtype: torch.dtype | np.dtype[Any]) -> Format:
    """Return the format of a floating type.

    Raises
    ------
    TypeError
        If the check does not know the type: it would judge without knowing how such numbers round.
    """
    name = str(dtype).removeprefix("torch.") if isinstance(dtype, torch.dtype) else dtype.newbyteorder("=").name
    if name in FORMATS:
        return FORMATS[name]
    if isinstance(dtype, np.dtype) and dtype.kind == "f":  # a long double, whose width depends on the machine
        limits = np.finfo(dtype)
        return Format(name, float(limits.eps), FLOAT64.spacing, limits.bits, torch.float64, torch.int64)
    raise TypeError(f"the check does not know how numbers of type {name} round: it knows {', '.join(FORMATS)}")


def coarser_than(epsilon: float) -> list[Format]:
    """Return the formats that round more coarsely, the most precise first."""
    return [each for each in FORMATS.values() if each.epsilon > epsilon]


def coarsest_within(epsilon: float) -> Format:
    """Return the coarsest format that rounds no more coarsely than so."""
    return next((each for each in reversed(FORMATS.values()) if each.epsilon <= epsilon), FLOAT64)
