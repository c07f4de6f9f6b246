import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manual_backprop.data.texts.characters import MOST_WINDOWS, all_windows, load_text, shuffled_windows


def test_a_text_is_split_and_comes_back(tmp_path):
    path = tmp_path / "text.txt"
    content = "Grüße, 世界! 🙂\r\n" * 20
    path.write_bytes(content.encode())
    text = load_text(path, 4)
    assert text.characters == "".join(sorted(set(content)))
    assert text.decode(np.concatenate([text.train, text.valid])) == content
    assert len(text.train) == int(len(content) * 0.9)


def test_the_default_is_pythons_documentation():
    text = load_text(None, 64)
    assert text.source == "pydoc_data.topics"
    assert len(text.train) > 300_000
    assert 'The "assert" statement' in text.decode(text.train)
    assert text.checksum() == load_text(None, 64).checksum()


def test_texts_of_one_name_are_told_apart(tmp_path):
    path = tmp_path / "text.txt"
    checksums = set()
    for content in ("abcd" * 50, "abdc" * 50, "efgh" * 50):
        path.write_text(content)
        checksums.add(load_text(path, 4).checksum())
    assert len(checksums) == 3


def test_windows_hold_tokens_and_those_that_follow():
    tokens = np.arange(100)
    x, y = shuffled_windows(tokens, 8, range(500), seed=0)
    assert x.shape == y.shape == (500, 8)
    np.testing.assert_array_equal(x + 1, y)
    np.testing.assert_array_equal(x, x[:, :1] + np.arange(8))
    assert set(x[:, 0] % 8) == set(range(8))  # epochs begin at any place


@given(st.integers(0, 100), st.integers(1, 9), st.integers(2, 40), st.integers(0, 99), st.integers(1, 50))
def test_an_epoch_has_each_token_once_and_any_part_is_that_of_the_whole(seed, context, windows, start, count):
    tokens = np.arange(context * windows)
    x, _ = shuffled_windows(tokens, context, range(start, start + count), seed)
    whole, _ = shuffled_windows(tokens, context, range(start + count), seed)
    np.testing.assert_array_equal(x, whole[start:])
    epoch = whole[: windows - 1].ravel()
    assert len(set(epoch)) == len(epoch)


@pytest.mark.parametrize(("length", "count"), [(9, 1), (16, 1), (17, 2), (100, 12)])
def test_all_windows_lie_beside_each_other(length, count):
    x, y = all_windows(np.arange(length), 8)
    np.testing.assert_array_equal(x.ravel(), np.arange(8 * count))
    np.testing.assert_array_equal(x + 1, y)


def test_a_long_text_has_evenly_spread_windows():
    x, _ = all_windows(np.arange(8 * 10 * MOST_WINDOWS + 1), 8)
    assert len(x) == MOST_WINDOWS
    assert (x[0, 0], x[-1, -1]) == (0, 8 * 10 * MOST_WINDOWS - 1)
    assert set(np.diff(x[:, 0])) <= {80, 88}


def test_what_is_no_text_is_refused(tmp_path):
    path = tmp_path / "text.txt"
    with pytest.raises(FileNotFoundError):
        load_text(path, 4)
    path.write_bytes(b"abc\xff")
    with pytest.raises(ValueError, match=r"text\.txt: not a UTF-8 text \(invalid start byte at byte 3\)$"):
        load_text(path, 4)
    path.write_text("abcd" * 10)
    with pytest.raises(ValueError, match=r"text\.txt: 40 characters are too few; .* longer than the context of 4$"):
        load_text(path, 4)
    path.write_text("")
    with pytest.raises(ValueError, match=r"text\.txt: 0 characters are too few"):
        load_text(path, 4)
