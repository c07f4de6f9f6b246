"""A function of any outputs as a scalar loss, so that one judge serves both faces.

With an upstream gradient u_k for each output y_k, the loss is

    L = sum_k sum(y_k * u_k).

Its derivative by an input is the gradient that the function's backward pass returns for these u_k, and its derivative
by u_k is y_k itself: outputs and gradients are judged alike.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch

from torch_reference.checker.formats import format_of
from torch_reference.checker.functions.probes.calls import Tensors, named


@dataclass(frozen=True, eq=False)
class Loss:
    """The loss of a function for upstream gradients that are arguments.

    Attributes
    ----------
    function : callable
        The reference.
    constants : dict
        All inputs in their order; those that the loss is given take the places of the floating ones.
    upstream : mapping of str to tensor
        The upstream gradients of the floating outputs.
    fixed : frozenset of str
        Outputs that take no part in the backward pass.
    """

    function: Callable[..., Any]
    constants: dict[str, Any]
    upstream: Mapping[str, torch.Tensor]
    fixed: frozenset[str] = frozenset()

    def __call__(self, **tensors: torch.Tensor) -> torch.Tensor:
        """Return the loss for the floating inputs and the upstream gradients."""
        total = torch.zeros((), dtype=torch.float64)
        for name, output in self.pairs(None, **tensors).items():
            total = total.to(output.device) + (output.double() * tensors[name].double()).sum()
        return total

    def pairs(self, stored: int | None = None, /, **tensors: torch.Tensor) -> Tensors:
        """Return the outputs under the names of their upstream gradients.

        Parameters
        ----------
        stored : int, optional
            Seed: round the outputs by chance to the types of the upstream gradients, in memory, where a backward pass
            that reads them again finds them.
        **tensors : tensor
            The floating inputs and the upstream gradients.
        """
        outputs = self.outputs(tensors)
        found = {name: outputs[name].detach() if name in self.fixed else outputs[name] for name in self.upstream}
        if stored is not None:
            generator = torch.Generator().manual_seed(stored)
            for name, output in found.items():
                _shift(output, format_of(self.upstream[name].dtype).epsilon, generator)
        return found

    def outputs(self, tensors: Mapping[str, torch.Tensor]) -> Tensors:
        """Return the outputs of the reference."""
        values = [tensors.get(name, value) for name, value in self.constants.items()]
        return named(self.function(*values))


def _shift(output: torch.Tensor, epsilon: float, generator: torch.Generator) -> None:
    """Shift what is in memory by up to half a unit in the last place; autograd does not see it."""
    noise = torch.rand(output.shape, generator=generator, dtype=torch.float64) - 0.5
    output.data.mul_(noise.mul_(epsilon).add_(1).to(output.device))
