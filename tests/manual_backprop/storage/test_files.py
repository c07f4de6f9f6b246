import errno
import os
import stat
from pathlib import Path

import pytest

from manual_backprop.storage.files import replacing


def test_replaces_the_whole_file_and_leaves_nothing_beside_it(tmp_path):
    path = tmp_path / "result.txt"
    path.write_text("old")
    with replacing(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.suffix == ".txt"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_keeps_the_old_file_when_writing_fails(tmp_path, error):
    path = tmp_path / "result.txt"
    path.write_text("old")
    with pytest.raises(error), replacing(path) as temporary:  # noqa: PT012 (the block is what fails)
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_content_is_on_the_disk_before_the_name_is(tmp_path, monkeypatch):
    events = []
    fsync, replace = os.fsync, Path.replace
    monkeypatch.setattr(os, "fsync", lambda descriptor: events.append(stat_of(descriptor)) or fsync(descriptor))
    monkeypatch.setattr(Path, "replace", lambda path, target: events.append("rename") or replace(path, target))
    with replacing(tmp_path / "result.txt") as temporary:
        temporary.write_text("new")
    assert events == [("file", 3), "rename", ("folder", None)]


def stat_of(descriptor):
    status = os.fstat(descriptor)
    return ("folder", None) if stat.S_ISDIR(status.st_mode) else ("file", status.st_size)


def test_an_error_names_the_file_that_was_wanted(tmp_path):
    with pytest.raises(OSError, match="No space left on device") as raised, replacing(tmp_path / "result.txt"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert raised.value.filename == str(tmp_path / "result.txt")
    assert list(tmp_path.iterdir()) == []
