"""Modes: what sees, and may change, every operation of a computation."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, ClassVar

import torch

from torch_reference.checker.formats import format_of
from torch_reference.checker.reference.private import DispatchMode
from torch_reference.checker.reference.reading import checksum


class Mode(DispatchMode):
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


class Watch(Mode):
    """Change nothing, and note what has to be known of a plain computation.

    Attributes
    ----------
    decisions : int
        Checksum of all decisions that the computation took (which side of zero, which one is the largest).
    coarsest : float
        Machine epsilon of the lowest precision seen; zero where nothing was.
    finite : bool
        Whether no result was infinite or NaN.
    """

    def __init__(self) -> None:
        super().__init__()
        self.decisions = 0
        self.coarsest = 0.0
        self.finite = True

    def run(self, operator: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run one operation and look at what it returns."""
        result = operator(*args, **kwargs)
        results = result if isinstance(result, tuple) else (result,)
        self.decisions = checksum(self.decisions, name, args, results)
        for tensor in results:
            if isinstance(tensor, torch.Tensor) and tensor.is_floating_point():
                if tensor.dim():  # scalars adapt to the arrays
                    self.coarsest = max(self.coarsest, format_of(tensor.dtype).epsilon)
                self.finite = self.finite and bool(torch.isfinite(tensor.sum()))
        return result


@contextmanager
def stacked(modes: Sequence[Mode]) -> Iterator[None]:
    """Enter several modes; the last one sees an operation first."""
    with ExitStack() as stack:
        for mode in modes:
            stack.enter_context(mode)
        yield
