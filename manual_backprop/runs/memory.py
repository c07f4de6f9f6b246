"""Refusing a run that cannot fit, since the operating system would end it without a message."""

import os


def check_memory(needed: int, options: str = "--hidden, --data") -> None:
    """Compare `needed` bytes with what the machine has, if the system says how much that is.

    Parameters
    ----------
    needed : bytes
    options : what to change, for the message

    Raises
    ------
    ValueError
        If the machine has less.
    """
    available = machine_memory()
    if available is not None and needed > available:
        raise ValueError(f"{options}: this takes {needed / 2**30:.0f} GiB, the machine has {available / 2**30:.0f} GiB")


def machine_memory() -> int | None:
    """Return the bytes of memory; None on a system that does not say."""
    names = ("SC_PAGE_SIZE", "SC_PHYS_PAGES")
    if not set(names) <= getattr(os, "sysconf_names", {}).keys():  # Windows has none of this
        return None
    page_size, pages = (os.sysconf(name) for name in names)
    return page_size * pages if min(page_size, pages) > 0 else None
