"""Rows shared out among the processes that ``torchrun`` started, and sums over all of them."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, distributed


class LostProcessError(ConnectionError):
    """Another process of the run has ended, so that sums over all of them are no longer possible."""


class Shards:
    """One process among those of the run; a process on its own is one of one.

    Attributes
    ----------
    number : 0, 1, ..., below ``count``; number 0 leads
    count : how many processes there are
    """

    def __init__(self) -> None:
        together = distributed.is_available() and distributed.is_initialized()
        self.number = distributed.get_rank() if together else 0
        self.count = distributed.get_world_size() if together else 1

    def rows(self, total: int) -> slice:
        """Return which of ``total`` rows are this process's; the shares differ by one row at most."""
        return slice(total * self.number // self.count, total * (self.number + 1) // self.count)

    def add(self, tensors: Iterable[Tensor]) -> None:
        """Put into each tensor, in every process, the sum of that of all processes: the same bits everywhere.

        Raises
        ------
        LostProcessError
            If a process has ended; so do the other methods.
        """
        if self.count > 1:
            with _company():
                for tensor in tensors:
                    distributed.all_reduce(tensor)

    def follow(self, tensors: Iterable[Tensor]) -> None:
        """Put into each tensor, in every process, what process 0 has there."""
        if self.count > 1:
            with _company():
                for tensor in tensors:
                    distributed.broadcast(tensor, src=0)

    def told(self, value: Any) -> Any:
        """Return what process 0 gives here; it may be anything that can be pickled."""
        if self.count > 1:
            values = [value]
            with _company():
                distributed.broadcast_object_list(values, src=0)
            return values[0]
        return value


@contextmanager
def _company() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise LostProcessError(
            "another process of this run has ended; start all again with --resume to go on from the last checkpoint"
        ) from error
