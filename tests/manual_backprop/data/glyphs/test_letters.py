import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manual_backprop.data.glyphs.letters import CANVAS, SIZE, bend, fill, letter_of

SIDES = st.floats(10, 1000)


def box(left, bottom, right, top, *, reverse=False):
    corners = np.array([(left, bottom), (right, bottom), (right, top), (left, top)], dtype=np.float64)
    return corners[::-1] if reverse else corners


def filled(*contours, **options):
    letter = letter_of(contours)
    return fill(letter, letter.points, **options)


@given(SIDES, SIDES, st.booleans())
def test_a_bar_grows_by_its_stem(width, height, reverse):
    letter = letter_of([box(7, -9, 7 + width, height - 9, reverse=reverse)])
    size = np.array([width / height, 1])
    # float64 rounds to 1.1e-16 of the coordinates, at most 1000 / 10 here; a few operations each
    np.testing.assert_allclose(np.ptp(letter.points, axis=0), size, rtol=0, atol=1e-12)
    np.testing.assert_allclose(letter.points.sum(axis=0), 0, rtol=0, atol=1e-12)
    stem = 2 * size.prod() / (2 * size.sum())
    np.testing.assert_allclose(np.ptp(letter.points + letter.normals, axis=0), size + stem, rtol=0, atol=1e-12)


@given(st.booleans())
def test_a_hole_shrinks_where_strokes_grow(reverse):
    letter = letter_of([box(30, 30, 70, 70, reverse=not reverse), box(0, 0, 100, 100, reverse=reverse)])
    stem = 2 * (1 - 0.16) / (4 + 1.6)
    outer, hole = np.split(letter.points + letter.normals, letter.starts)
    assert letter.inked == [True, False]
    np.testing.assert_allclose(np.ptp(outer, axis=0), 1 + stem, rtol=0, atol=1e-12)  # rounding, as above
    np.testing.assert_allclose(np.ptp(hole, axis=0), 0.4 - stem, rtol=0, atol=1e-12)


def test_repeated_points_change_nothing():
    corners = box(0, 0, 50, 100)
    for once, twice in zip(letter_of([corners]), letter_of([np.repeat(corners, 2, axis=0), corners[:1]]), strict=True):
        np.testing.assert_array_equal(once, twice)


@pytest.mark.parametrize("contours", [[], [np.zeros((3, 2))], [np.array([(0.0, 0), (1, 1), (2, 2)])], [np.eye(2)]])
def test_a_letter_without_ink_is_refused(contours):
    with pytest.raises(ValueError, match="without ink"):
        letter_of(contours)


@given(SIDES, SIDES)
def test_the_ink_is_stretched_to_the_square(width, height):
    assert (filled(box(0, 0, width, height)) == 255).all()


@pytest.mark.parametrize("reverse", [False, True])
def test_overlaps_are_ink_and_holes_are_not_and_islands_are(reverse):
    cross = filled(box(0, 40, 100, 60, reverse=reverse), box(40, 0, 60, 100, reverse=reverse))
    assert cross[14, 14] == cross[14, 0] == cross[0, 14] == 255
    assert cross[0, 0] == cross[27, 27] == 0
    target = filled(
        box(40, 40, 60, 60, reverse=reverse),
        box(0, 0, 100, 100, reverse=reverse),
        box(20, 20, 80, 80, reverse=not reverse),
    )
    assert list(target[14, [1, 8, 14, 19, 26]]) == [255, 0, 255, 0, 255]


def test_up_is_up():
    image = filled(np.array([(0.0, 0), (2, 0), (1, 2)]))
    assert image[0].sum() < image[14].sum() < image[27].sum()


def test_grey_is_the_share_of_ink():
    image = filled(np.array([(0.0, 0), (1000, 0), (0, 1000)])) / 255
    below = np.tri(SIZE)
    off_diagonal = ~np.eye(SIZE, dtype=bool)
    np.testing.assert_array_equal(image[off_diagonal], below[off_diagonal])
    # half a pixel, and the border line of the polygon: half of the 6 canvas pixels on the diagonal
    assert np.all(np.abs(np.diag(image) - 0.5 - 0.5 * SIZE / CANVAS) < 1 / 255)


def test_styles():
    hollow = filled(box(0, 0, 100, 100), style="hollow")
    assert hollow[14, 14] == 0
    assert (hollow[[0, -1]] > 0).all()
    assert (hollow[:, [0, -1]] > 0).all()
    square, disc = (filled(box(0, 0, 100, 100), style="sign", radius=radius) for radius in (0, CANVAS // 2))
    assert square[14, 14] == disc[14, 14] == 0
    assert square[0].min() == 255
    assert disc[0, 0] == 0 < disc[0, 14]


def test_bending_repeats_and_varies():
    letter = letter_of([box(0, 0, 60, 100), box(20, 20, 40, 80, reverse=True)])
    first, again, other = (bend(letter, np.random.RandomState(seed)) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
    assert (first != letter.points).any()


def test_bending_is_smooth():
    """Nearby points of a line stay nearby: the warp has no wave shorter than the letter."""
    x = np.linspace(0, 1, 101)
    letter = letter_of([np.concatenate([np.stack([x, 0 * x], 1), np.stack([1 - x, 1 + 0 * x], 1)])])
    for seed in range(100):
        bottom = bend(letter, np.random.RandomState(seed))[1:100]
        assert np.linalg.norm(np.diff(bottom, axis=0), axis=1).max() < 0.1


def test_letters_lean_to_either_side():
    """By about 0.15 of their height; the warp alone would move the top against the bottom by 0.03."""
    letter = letter_of([box(0, 0, 60, 100)])
    lean = []
    for seed in range(300):
        points = bend(letter, np.random.RandomState(seed))
        lean.append(points[letter.points[:, 1] > 0, 0].mean() - points[letter.points[:, 1] < 0, 0].mean())
    assert 0.1 < np.median(np.abs(lean)) < 0.2
    assert 100 < np.sum(np.array(lean) > 0) < 200  # 150 with a deviation of 8.7
