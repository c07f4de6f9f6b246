"""Threads that share numbered tasks, each with one BLAS thread, so that results do not depend on how many there are."""

import os
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any, TypeVar

from threadpoolctl import ThreadpoolController

T = TypeVar("T")


_blas = ThreadpoolController().select(user_api="blas")
# The number of BLAS threads is a setting of the whole process, so one run at a time changes it and puts it back.
_one_run = threading.Lock()


class _Stopped(Exception):  # noqa: N818 (no error of its own: another task's error ends this one)
    """Another task has failed."""


class Workers:
    """Run numbered tasks on several threads, the calling one included.

    NumPy lets go of the interpreter's lock while it computes, so threads are enough to keep all cores busy, also in
    the functions that NumPy itself computes on one core. The threads are started when first needed and end with this
    object.

    Parameters
    ----------
    count : int, optional
        Number of threads; by default as many as BLAS would use, which follows the machine and the user's settings
        (`OMP_NUM_THREADS` and the like).
    """

    def __init__(self, count: int | None = None) -> None:
        self.count = _usual_threads() if count is None else count
        self._pool: ThreadPoolExecutor | None = None
        self._numbers: deque[int] = deque()
        self._results: dict[int, Any] = {}
        self._ended = threading.Condition()
        self._stopped = False
        self._meeting = threading.Barrier(1)

    def run(self, task: Callable[[int, int], T], count: int) -> list[T]:
        """Call `task(number, worker)` for every number below `count`, begun in that order; return what they return.

        `worker`, below `self.count`, tells the task whose memory it may use. If a task fails, no other is begun,
        and the error is raised once all have ended. Runs asked for by several threads take place one after the other.
        """
        others: list[Future[None]] = []
        with _one_run, _blas.limit(limits=1):
            self._numbers = deque(range(count))
            self._results = {}
            self._stopped = False
            self._meeting = threading.Barrier(max(count, 1))
            try:
                others += (
                    self._threads().submit(self._help, task, worker) for worker in range(1, min(self.count, count))
                )
                self._work(task, 0)
                for other in others:
                    other.result()
            except BaseException:
                self._stop()
                raise
            finally:
                wait(others)
            return [self._results[number] for number in range(count)]

    def wait_for(self, number: int) -> None:
        """Wait, from within a task, until the task `number` has ended, which must have a lower number."""
        with self._ended:
            self._ended.wait_for(lambda: number in self._results or self._stopped)
            if self._stopped:
                raise _Stopped

    def meet(self) -> None:
        """Wait, from within a task, until every task of the run has called this; each needs a worker of its own."""
        try:
            self._meeting.wait()
        except threading.BrokenBarrierError:
            raise _Stopped from None

    def _threads(self) -> ThreadPoolExecutor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.count - 1, thread_name_prefix="backprop")
        return self._pool

    def _help(self, task: Callable[[int, int], Any], worker: int) -> None:
        with _blas.limit(limits=1):  # where BLAS is built on OpenMP, each thread has a setting of its own
            self._work(task, worker)

    def _work(self, task: Callable[[int, int], Any], worker: int) -> None:
        try:
            while True:
                try:
                    number = self._numbers.popleft()
                except IndexError:
                    return
                result = task(number, worker)
                with self._ended:
                    self._results[number] = result
                    self._ended.notify_all()
        except _Stopped:
            return
        except BaseException:
            self._stop()
            raise

    def _stop(self) -> None:
        self._numbers.clear()
        self._meeting.abort()
        with self._ended:
            self._stopped = True
            self._ended.notify_all()


def _usual_threads() -> int:
    with _one_run:
        return max((library["num_threads"] for library in _blas.info()), default=os.cpu_count() or 1)
