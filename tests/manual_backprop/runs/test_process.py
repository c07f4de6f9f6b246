import os

import pytest

from manual_backprop.runs.process import check_memory, machine_memory


def test_more_than_the_machine_has_is_refused(monkeypatch):
    monkeypatch.setattr("manual_backprop.runs.process.machine_memory", lambda: 3 * 2**30)
    check_memory(3 * 2**30)
    with pytest.raises(ValueError, match="takes 5 GiB, the machine has 3 GiB"):
        check_memory(5 * 2**30)


def test_where_the_system_does_not_say_nothing_is_refused(monkeypatch):
    monkeypatch.setattr(os, "sysconf_names", {})
    assert machine_memory() is None
    check_memory(2**100)


def test_a_system_that_does_not_know_says_so_by_a_negative_number(monkeypatch):
    monkeypatch.setattr(os, "sysconf_names", {"SC_PAGE_SIZE": 0, "SC_PHYS_PAGES": 1}, raising=False)
    monkeypatch.setattr(os, "sysconf", {"SC_PAGE_SIZE": 4096, "SC_PHYS_PAGES": -1}.get, raising=False)
    assert machine_memory() is None
