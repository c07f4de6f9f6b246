"""Writing files so that a crash, a kill or a full disk never leaves half of one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``; when the block has written it, flush it to disk and rename it.

    Whatever happens, ``path`` holds either its old content or all of the new one.

    Raises
    ------
    OSError
        If the file cannot be written; ``path`` is as it was, and nothing is left beside it.
    """
    # the suffix tells matplotlib the format
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        yield temporary
        _flush(temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    _flush(path.parent)  # the rename itself


def _flush(path: Path) -> None:
    """Have the operating system put a file, or a folder's list of names, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
