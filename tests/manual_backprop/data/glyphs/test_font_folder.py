import logging
import os
import re
import shutil
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from font_files import LETTERS, font_bytes, polygon

from manual_backprop.data.glyphs.faces import read_face
from manual_backprop.data.glyphs.font_folder import font_files, read_font_folder
from manual_backprop.data.reading import DataError

FONTS = Path(mpl.get_data_path(), "fonts", "ttf")
TEN = ["DejaVuSans", "DejaVuSansMono", "DejaVuSerif", "STIXGeneral", "STIXGeneralBol"]
TEN += ["cmb10", "cmmi10", "cmr10", "cmss10", "cmtt10"]


@pytest.fixture
def ten(tmp_path):
    """A folder of ten good fonts."""
    for name in TEN:
        shutil.copy(FONTS / f"{name}.ttf", tmp_path)
    return tmp_path


@pytest.fixture
def counts(caplog):
    """What the log says of the last folder: faces, files, copies, not letters, incomplete."""
    caplog.set_level(logging.INFO, logger="manual_backprop.data.glyphs")
    return lambda: [int(number) for number in re.findall(r"\d+", caplog.messages[-1].split(": ")[-1])]


def bars(pen, letter):
    """No letters: bars at ten heights."""
    polygon(pen, (0, 0), (0, 700), (10, 700), (10, 0))
    height = 60 * LETTERS.index(letter)
    polygon(pen, (10, height), (10, height + 50), (400, height + 50), (400, height))


def erased(pen, letter):
    """Bars, except for an A whose only contour is inked and then erased."""
    bars(pen, letter)
    if letter == "A":
        polygon(pen, (0, 0), (10, 0), (10, 700), (0, 700))
        polygon(pen, (10, 0), (400, 0), (400, 50), (10, 50))


def test_matplotlibs_own_folder(counts):
    faces = read_font_folder(FONTS)
    kept, files, copies, others, incomplete = counts()
    assert kept == len(faces)
    assert kept in (22, 23)  # matplotlib 3.11 adds cmti10
    assert files == len(list(FONTS.glob("*.ttf")))
    assert (copies, others) == (0, 1)  # cmex10 has brackets in the places of letters
    assert incomplete == files - kept - 1


def test_every_kind_of_file_is_counted(ten, counts, caplog):
    (ten / "some" / "more").mkdir(parents=True)
    shutil.copy(FONTS / "cmr10.ttf", ten / "some" / "more" / "Again.TTF")
    (ten / "bars.otf").write_bytes(font_bytes(bars, postscript=True))
    (ten / "page.ttf").write_text("<!DOCTYPE html>")
    (ten / "empty.ttc").touch()
    (ten / "half.otf").write_bytes((FONTS / "cmr10.ttf").read_bytes()[:9000])
    (ten / "nine.ttf").write_bytes(font_bytes(bars, letters=LETTERS[:9]))
    (ten / "one shape.ttf").write_bytes(font_bytes(lambda pen, _: bars(pen, "A")))
    (ten / "erased.ttf").write_bytes(font_bytes(erased))
    (ten / "readme.txt").write_text("no font")
    (ten / "folder.ttf").mkdir()
    (ten / "dangling.ttf").symlink_to(ten / "nothing")
    (ten / "circle.ttf").symlink_to(ten / "circle.ttf")
    (ten / "zero.ttf").symlink_to("/dev/zero")
    os.mkfifo(ten / "pipe.ttf")
    assert len(read_font_folder(ten)) == 10
    assert counts() == [10, 18, 1, 1, 6]
    assert all("\n" not in message for message in caplog.messages)


def test_a_huge_file_is_skipped_unread(ten, counts, caplog):
    with (ten / "hu\nge.ttf").open("wb") as file:
        file.truncate(2**40)  # sparse
    read_font_folder(ten)
    assert counts() == [10, 10, 0, 0, 0]
    assert caplog.messages[0] == f"skipped {ten}/hu\\nge.ttf: larger than 134217728 bytes"


def test_a_file_that_cannot_be_read_is_skipped(ten, counts, monkeypatch):
    read_bytes = Path.read_bytes

    def refuse(path):
        if path.name == "cmr10.ttf" and path.parent == ten:
            raise PermissionError(13, "Permission denied", str(path))
        return read_bytes(path)

    (ten / "eleventh.ttf").write_bytes((FONTS / "cmsy10.ttf").read_bytes())
    monkeypatch.setattr(Path, "read_bytes", refuse)
    assert len(read_font_folder(ten)) == 10
    assert counts() == [10, 10, 0, 0, 0]


def test_the_order_is_that_of_the_paths(ten):
    assert list(font_files(ten)) == [path.read_bytes() for path in sorted(ten.iterdir())]
    for read, path in zip(read_font_folder(ten), sorted(ten.iterdir()), strict=True):
        for letter, expected in zip(read, read_face(path.read_bytes()), strict=True):
            np.testing.assert_array_equal(letter.points, expected.points)


def test_fewer_than_ten_faces_are_refused(ten):
    (ten / "cmr10.ttf").unlink()
    (ten / "a copy.ttf").write_bytes((ten / "cmtt10.ttf").read_bytes())
    with pytest.raises(DataError) as caught:
        read_font_folder(ten)
    assert str(caught.value) == (
        f"{ten}: 9 different faces in 10 font files (1 copies, 0 that do not look like letters, "
        "0 unreadable or without ten letters A to J); expected at least 10"
    )
