"""Modes: what sees, and may change, every operation of a computation."""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, ClassVar

import torch

from torch_reference.checker.reference.private import TorchDispatchMode, name_of


class Mode(TorchDispatchMode):
    """Sees every operation that PyTorch dispatches.

    Attributes
    ----------
    backward : bool
        Whether it takes part in the backward pass too. Decisions belong to the forward pass alone: the backward pass
        follows them.
    """

    backward: ClassVar[bool] = True

    def begin(self, inputs: Iterable[torch.Tensor]) -> None:
        """Get to know the inputs of the computation."""

    @abstractmethod
    def run(self, operator: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run one operation and return its result."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one operation; the mode itself does not see what that dispatches to."""
        return self.run(func, name_of(func), args, kwargs or {})


@contextmanager
def stacked(modes: Sequence[Mode]) -> Iterator[None]:
    """Enter several modes; the last one sees an operation first."""
    with ExitStack() as stack:
        for mode in modes:
            stack.enter_context(mode)
        yield
