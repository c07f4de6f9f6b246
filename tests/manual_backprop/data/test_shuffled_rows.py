import numpy as np
import pytest

from manual_backprop.data.shuffled_rows import ShuffledRows


@pytest.fixture
def stored(rng):
    return rng.integers(0, 256, (50, 6), dtype=np.uint8)


@pytest.fixture
def rows(tmp_path, stored):
    stored.tofile(tmp_path / "stored")
    mapped = np.memmap(tmp_path / "stored", np.uint8, "r", shape=(50, 6))
    return ShuffledRows(mapped.view(np.ndarray), np.random.default_rng(1).permutation(50)[:30])


@pytest.fixture
def expected(stored):
    return stored[np.random.default_rng(1).permutation(50)[:30]]


def test_it_describes_itself_like_the_array_it_stands_for(rows, expected):
    assert (rows.shape, rows.dtype, rows.ndim, len(rows)) == (
        expected.shape,
        expected.dtype,
        expected.ndim,
        len(expected),
    )


@pytest.mark.parametrize(
    "index",
    [
        0,
        -1,
        np.int64(7),
        slice(None),
        slice(3, 11),
        slice(25, 99),
        slice(5, 5),
        slice(None, None, -2),
        np.array([4, 4, -1]),
        np.arange(30) % 3 == 0,
    ],
)
def test_an_index_gives_the_same_rows_as_of_the_array(rows, expected, index):
    taken = rows[index]
    assert type(taken) is np.ndarray
    assert taken.shape == expected[index].shape
    np.testing.assert_array_equal(taken, expected[index])


@pytest.mark.parametrize("index", [0, slice(2, 5), np.array([1])])
def test_rows_taken_are_copies_that_may_be_written(rows, index):
    before = rows[:]
    rows[index][...] = 0
    np.testing.assert_array_equal(rows[:], before)


def test_it_becomes_an_array(rows, expected):
    np.testing.assert_array_equal(np.asarray(rows), expected)
    assert np.asarray(rows, np.float32).dtype == np.float32
    np.testing.assert_array_equal(np.asarray(rows, np.float32), expected)


def test_it_does_not_pretend_to_share_memory(rows):
    with pytest.raises(ValueError, match="without a copy"):
        rows.__array__(copy=False)


def test_beyond_the_last_row_is_an_error(rows):
    with pytest.raises(IndexError):
        rows[30]
