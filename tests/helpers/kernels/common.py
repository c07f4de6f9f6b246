"""How the kernels of this folder are made, and what they compute with."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass(frozen=True)
class Kernel:
    """One function of the tables.

    Attributes
    ----------
    title : str
        What is wrong with it, or what looks wrong though it is right.
    function, reference : callable
        The function under test and the same in plain PyTorch.
    inputs : callable
        Gets a generator and a dtype, and returns the inputs.
    codes : str
        The codes that its fault may get, separated by spaces; empty if it is right.
    where : str
        The entry that must get one of them; any if empty.
    dtype : torch dtype
        The precision in which the fault shows.
    options : dict
        Further arguments of the check.
    """

    title: str
    function: Callable[..., Any]
    reference: Callable[..., Any]
    inputs: Callable[..., dict[str, Any]]
    codes: str = ""
    where: str = ""
    dtype: torch.dtype = torch.float32
    options: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.codes.split()[0] if self.codes else 'right'}-{self.title}".replace(" ", "_")


def kernel(forward: Callable[..., Any], backward: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function with the two passes."""
    methods = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    return type(forward.__qualname__.split(".")[0], (torch.autograd.Function,), methods).apply  # type: ignore[attr-defined]


def wide(*tensors: torch.Tensor) -> Any:
    """Return tensors in the precision of a kernel's registers: float32, or float64 where they are that already."""
    found = [tensor.float() if tensor.dtype != torch.float64 else tensor for tensor in tensors]
    return found if len(found) > 1 else found[0]


def memory(tensor: torch.Tensor) -> torch.Tensor:
    """Return what a kernel reads that trusts `data_ptr()` and takes the tensor to be contiguous."""
    storage = torch.empty(0, dtype=tensor.dtype).set_(tensor.untyped_storage())
    behind = storage[tensor.storage_offset() :][: tensor.numel()]
    return torch.cat([behind, behind.new_full((tensor.numel() - len(behind),), 7.0)]).view(tensor.shape)


def normal(generator: torch.Generator, *shape: int, dtype: torch.dtype, scale: float = 1.0) -> torch.Tensor:
    """Draw normal numbers, rounded to a dtype."""
    return (scale * torch.randn(shape, generator=generator, dtype=torch.float64)).to(dtype)
