"""Threads that share numbered tasks, each with one BLAS thread, so that results do not depend on how many there are."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
from threadpoolctl import ThreadpoolController

T = TypeVar("T")


class _OneBlasThread:
    """While anyone is inside, BLAS computes with one thread; after the last one has left, with as many as before.

    The setting belongs to the process, not to a thread, so its users are counted.
    """

    def __init__(self) -> None:
        self._blas = ThreadpoolController().select(user_api="blas")
        self._lock = threading.Lock()
        self._users = 0

    def __enter__(self) -> None:
        with self._lock:
            if self._users == 0:
                self._limit = self._blas.limit(limits=1)
                self._limit.__enter__()
            self._users += 1

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                self._limit.__exit__(*error)

    def usual_threads(self) -> int:
        """Return how many threads BLAS uses while nobody is inside."""
        with self._lock:
            if self._users > 0:
                return int(self._limit.get_original_num_threads()["blas"] or 1)
            return max((library["num_threads"] for library in self._blas.info()), default=os.cpu_count() or 1)


_one_blas_thread = _OneBlasThread()


class _Stopped(Exception):  # noqa: N818 (no error of its own: another task's error ends this one)
    """Another task has failed."""


class Workers:
    """Run numbered tasks on several threads, the calling one included.

    NumPy lets go of the interpreter's lock while it computes, so threads are enough to keep all cores busy, also in
    the functions that NumPy itself computes on one core. The threads are started when first needed and end with this
    object. One call of ``run`` at a time.

    Parameters
    ----------
    count : int, optional
        Number of threads; by default as many as BLAS would use, which follows the machine and the user's settings
        (``OMP_NUM_THREADS`` and the like).
    """

    def __init__(self, count: int | None = None) -> None:
        self.count = _one_blas_thread.usual_threads() if count is None else count
        self._pool: ThreadPoolExecutor | None = None
        self._turn = threading.Condition()
        self._turns_taken = 0
        self._stopped = False
        self._numbers: deque[int] = deque()

    def run(self, task: Callable[[int, int], T], count: int) -> list[T]:
        """Call ``task(number, worker)`` for every number below ``count``, begun in that order; return what they return.

        ``worker``, below ``self.count``, tells the task whose memory it may use. If a task fails, no other is begun,
        and the error is raised once all have ended.
        """
        self._numbers = deque(range(count))
        self._turns_taken = 0
        self._stopped = False
        results: dict[int, T] = {}
        others: list[Future[None]] = []
        with _one_blas_thread:
            try:
                others += (
                    self._threads().submit(self._work, task, worker, results)
                    for worker in range(1, min(self.count, count))
                )
                self._work(task, 0, results)
                for other in others:
                    other.result()
            except BaseException:
                self._stop()
                raise
            finally:
                wait(others)
        return [results[number] for number in range(count)]

    @contextmanager
    def turn(self, number: int) -> Iterator[None]:
        """Wait until the tasks with lower numbers have had their turn, then hold it; each of them must take one."""
        with self._turn:
            self._turn.wait_for(lambda: self._turns_taken == number or self._stopped)
            if self._stopped:
                raise _Stopped
        yield
        with self._turn:
            self._turns_taken += 1
            self._turn.notify_all()

    def _threads(self) -> ThreadPoolExecutor:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self.count - 1, thread_name_prefix="backprop")
        return self._pool

    def _work(self, task: Callable[[int, int], T], worker: int, results: dict[int, T]) -> None:
        try:
            # a diverging network shows in its loss; warnings from threads would only repeat it
            with np.errstate(over="ignore", invalid="ignore"):
                while True:
                    try:
                        number = self._numbers.popleft()
                    except IndexError:
                        return
                    results[number] = task(number, worker)
        except _Stopped:
            return
        except BaseException:
            self._stop()
            raise

    def _stop(self) -> None:
        self._numbers.clear()
        with self._turn:
            self._stopped = True
            self._turn.notify_all()
