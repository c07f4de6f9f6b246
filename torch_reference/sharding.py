"""Rows shared out among the processes that `torchrun` started, and sums over all of them."""

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, distributed

if distributed.is_available():
    import torch.distributed.nn.functional  # before there is a group: see `process_group`


class LostProcessError(ConnectionError):
    """Another process of the run has ended, so that sums over all of them are no longer possible."""


@contextmanager
def process_group() -> Iterator[None]:
    """Join the processes that `torchrun` started, if it did, and leave them at the end of the block.

    The threads of the group must end before the interpreter does. A thread that lets go of a tensor afterwards aborts
    the process (https://github.com/pytorch/pytorch/issues/190489), and some thread does so a moment after each sum.
    They end with the last reference to the group, and `destroy_process_group` drops those of PyTorch's own except one
    kind: default arguments (`group=group.WORLD`) in `torch.distributed.nn.functional`, which hold the group if there is
    one when that module is first imported. `torch.optim` imports it, so it is imported here first.
    """
    if not (distributed.is_available() and distributed.is_torchelastic_launched()):
        yield
        return
    cuda = torch.cuda.is_available()
    if cuda:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("cpu:gloo,cuda:nccl" if cuda else "gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


class Shards:
    """One process among those of the run; a process on its own is one of one.

    Attributes
    ----------
    number : 0, 1, ..., below `count`; number 0 leads
    count : how many processes there are
    """

    def __init__(self) -> None:
        together = distributed.is_available() and distributed.is_initialized()
        self.number = distributed.get_rank() if together else 0
        self.count = distributed.get_world_size() if together else 1

    def rows(self, total: int) -> slice:
        """Return which of `total` rows are this process's; the shares differ by one row at most."""
        return slice(total * self.number // self.count, total * (self.number + 1) // self.count)

    def all_reduce(self, tensors: Iterable[Tensor]) -> None:
        """Put into each tensor, in every process, the sum of that of all processes: the same bits everywhere.

        Raises
        ------
        LostProcessError
            If a process has ended; the other methods raise it too.
        """
        if self.count > 1:
            with _noticing_lost_processes():
                for tensor in tensors:
                    distributed.all_reduce(tensor)

    def broadcast(self, tensors: Iterable[Tensor]) -> None:
        """Put into each tensor, in every process, what process 0 has there."""
        if self.count > 1:
            with _noticing_lost_processes():
                for tensor in tensors:
                    distributed.broadcast(tensor, src=0)

    def broadcast_object(self, value: Any) -> Any:
        """Return what process 0 gives here; it may be anything that can be pickled."""
        if self.count > 1:
            values = [value]
            with _noticing_lost_processes():
                distributed.broadcast_object_list(values, src=0)
            return values[0]
        return value

    def wait_for_leader(self) -> None:
        """Wait until process 0 has left the group.

        If a process fails, `torchrun` ends the others. So none of them may end, and perhaps fail, before process 0 has
        written the results.
        """
        with suppress(LostProcessError):
            self.broadcast_object(None)


@contextmanager
def _noticing_lost_processes() -> Iterator[None]:
    try:
        yield
    except RuntimeError as error:
        raise LostProcessError(
            "another process of this run has ended; start all again with --resume to go on from the last checkpoint"
        ) from error
