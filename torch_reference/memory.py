"""PyTorch's several ways to say that memory is short, as Python's own."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def memory_errors() -> Iterator[None]:
    """Raise MemoryError if PyTorch cannot allocate a tensor.

    A GPU's allocator has an exception of its own, the CPU's only its name in the message of a RuntimeError.
    """
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise MemoryError(str(error)) from error
    except RuntimeError as error:
        if "DefaultCPUAllocator" not in str(error):
            raise
        raise MemoryError(str(error)) from error
