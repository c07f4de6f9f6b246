import numpy as np
import pytest
from font_files import LETTERS, font_bytes, polygon, with_characters
from hypothesis import given
from hypothesis import strategies as st

from manual_backprop.data.glyphs.faces import default_faces, read_face
from manual_backprop.data.glyphs.letters import fill


def slope(pen, letter):
    """Lines, and one curve."""
    polygon(pen, (0, 0), (0, 700), (100 + 50 * LETTERS.index(letter), 700))
    pen.moveTo((20, 600))
    pen.lineTo((20, 650))
    pen.qCurveTo((80, 650), (80, 600)) if hasattr(pen, "glyph") else pen.curveTo((60, 650), (80, 633.33), (80, 600))
    pen.closePath()


def test_the_default_faces_are_whole_and_distinct():
    faces = default_faces()
    assert [len(face) for face in faces] == [10] * 39
    images = np.array([[fill(letter, letter.points) for letter in face] for face in faces]).reshape(39, -1) / 255
    distances = np.linalg.norm(images[:, np.newaxis] - images, axis=2) / np.sqrt(images.shape[1])
    assert distances[~np.eye(39, dtype=bool)].min() > 0.02


def test_reading_is_exact():
    letter = read_face(font_bytes(slope))[3]
    outer, inner = np.split(letter.points, letter.starts)
    assert outer.shape == (3 * 8, 2)  # every line in eight pieces
    assert np.ptp(outer, axis=0).tolist() == [250 / 700, 1]
    # The quadratic curve from (20, 650) over (80, 650) to (80, 600) is at (65, 637.5) half-way.
    halfway = (np.array([65, 637.5]) - (125, 350)) / 700
    assert np.abs(inner - halfway).sum(axis=1).min() < 1e-12  # rounding of numbers below 1


def test_truetype_and_postscript_outlines_agree():
    for ours, theirs in zip(read_face(font_bytes(slope)), read_face(font_bytes(slope, postscript=True)), strict=True):
        assert ours.starts == theirs.starts
        assert ours.inked == theirs.inked
        # PostScript stores 633.33 as 633: half a unit of 700, by the weight of one control point, 4/9 at most
        np.testing.assert_allclose(ours.points, theirs.points, rtol=0, atol=0.5 / 700)


def test_a_part_of_another_glyph_is_drawn():
    def nested(pen, letter):
        if letter == "J":
            slope(pen, letter)
        else:
            pen.addComponent("J", (0.5, 0, 0, 0.5, 10, 20))

    face = read_face(font_bytes(nested))
    np.testing.assert_allclose(face[0].points, face[9].points, rtol=0, atol=1e-12)  # rounding of numbers below 1


@pytest.mark.parametrize("postscript", [False, True])
def test_a_missing_letter_is_refused(postscript):
    with pytest.raises(ValueError, match="no letter F"):
        read_face(font_bytes(slope, letters="ABCDEGHIJ", postscript=postscript))


def test_an_empty_letter_is_refused():
    with pytest.raises(ValueError, match="without ink"):
        read_face(font_bytes(lambda pen, letter: slope(pen, letter) if letter != "C" else None))


def test_tables_of_thousands_of_millions_of_characters_are_not_written_out():
    font = font_bytes(slope)
    everything = [(65, 74, 1), (75, 2**32 - 1, 1)]
    again_and_again = [(0, 0x10FFFF, 1)] * 3000
    assert len(read_face(with_characters(font, everything))) == 10
    assert len(read_face(with_characters(font, again_and_again, everything))) == 10
    with pytest.raises(ValueError, match="no letter A"):
        read_face(with_characters(font, again_and_again))


def test_glyphs_nested_ten_to_the_ninth_times_are_refused():
    def bomb(pen, letter):
        for _ in range(10 if letter != "J" else 0):
            pen.addComponent(chr(ord(letter) + 1), (1, 0, 0, 1, 0, 0))

    with pytest.raises(ValueError, match="more than 50000 points"):
        read_face(font_bytes(bomb))


def test_glyphs_nested_in_a_circle_are_refused():
    with pytest.raises(RecursionError):
        read_face(font_bytes(lambda pen, letter: pen.addComponent(letter, (1, 0, 0, 1, 0, 0))))


@given(
    st.booleans(),
    st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=20),
    st.floats(0, 1),
)
def test_damage_ends_in_ten_letters_or_an_exception(postscript, changes, length):
    data = bytearray(font_bytes(slope, postscript=postscript))
    for place, value in changes:
        data[int(place * len(data))] = value
    try:
        face = read_face(bytes(data[: max(1, int(length * len(data)))]))
    except Exception as error:
        assert not isinstance(error, (MemoryError, Warning))
        return
    assert len(face) == 10
    assert all(np.isfinite(letter.points).all() and np.isfinite(letter.normals).all() for letter in face)
