"""A mode that changes nothing: it notes what a plain computation decides, how precise it is, and that it is finite."""

from typing import Any

import torch

from torch_reference.checker.formats import format_of
from torch_reference.checker.reference.modes import Mode
from torch_reference.checker.reference.reading import checksum


class Watch(Mode):
    """Note what the other modes of this room and the allowance have to know of a computation.

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
