"""Contestants that take turns, each in a process of its own, so that a busy moment of the machine meets them all."""

import multiprocessing
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

from benchmarks.contestants import Epoch

Prepare = Callable[[], Epoch]
MIB = 2**20


class Turns(NamedTuple):
    """What was measured of one contestant: seconds an epoch, the median of each turn, and its peak memory in MiB."""

    seconds: list[float]
    peak_memory: float


def take_turns(
    contestants: Mapping[str, Prepare], rounds: int, epochs: int | Mapping[str, int] = 3
) -> tuple[dict[str, Turns], dict[str, str]]:
    """Let every contestant do some epochs in each round.

    The first epoch of a turn is not timed: it brings the contestant's data back into the caches.

    Parameters
    ----------
    contestants : what prepares each; must be picklable
    rounds : turns for each
    epochs : timed epochs of a turn, for all or for each

    Returns
    -------
    results : for each contestant that could be prepared
    missing : for each of the others, why not
    """
    context = multiprocessing.get_context("spawn")
    playing: dict[str, Connection] = {}
    missing: dict[str, str] = {}
    try:
        for name, prepare in contestants.items():
            connection, other_end = context.Pipe()
            count = epochs if isinstance(epochs, int) else epochs[name]
            context.Process(target=_play, args=(other_end, prepare, count), daemon=True).start()
            other_end.close()
            reason = connection.recv()
            if reason is None:
                playing[name] = connection
            else:
                missing[name] = reason
        results = {name: Turns([], 0) for name in playing}
        for _ in range(rounds):
            for name, connection in playing.items():
                connection.send(True)
                seconds, peak_memory = connection.recv()
                results[name] = Turns([*results[name].seconds, seconds], peak_memory)
    finally:
        for connection in playing.values():
            connection.close()
    return results, missing


def _play(connection: Connection, prepare: Prepare, epochs: int) -> None:
    try:
        epoch = prepare()
    except ImportError as error:
        connection.send(str(error))
        return
    epoch()  # compilers compile, pools start their threads
    connection.send(None)
    while True:
        try:
            connection.recv()
        except (EOFError, KeyboardInterrupt):  # the game is over
            return
        epoch()
        start = time.perf_counter()
        for _ in range(epochs):
            epoch()
        connection.send(((time.perf_counter() - start) / epochs, peak_memory()))


def peak_memory() -> float:
    """Return the most memory that this process has had, in MiB."""
    status = Path("/proc/self/status")
    if status.exists():  # the number that getrusage gives includes the parent's, from before this program began
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024 / MIB
    import resource
    import sys

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / MIB
