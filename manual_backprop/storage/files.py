"""Writing files so that a crash, a kill or a full disk never leaves half of one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`; when the block has written it, flush it to disk and rename it.

    Whatever happens, `path` holds either its old content or all of the new one.

    Raises
    ------
    OSError
        If the file cannot be written; it names `path`, which is as it was, and nothing is left beside it.
    """
    # the suffix tells matplotlib the format
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.partial{path.suffix}")
    try:
        yield temporary
        with temporary.open("r+b") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        error.filename = str(path)  # a full disk's error names no file
        raise
    finally:
        with suppress(OSError):
            temporary.unlink()
    _flush_names(path.parent)


def _flush_names(folder: Path) -> None:
    """Have the operating system put a folder's list of names on the disk, so that a rename outlasts a power cut."""
    with suppress(OSError):  # not every system can; the file itself is whole either way
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
