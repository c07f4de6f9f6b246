import mmap

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manual_backprop.data.reading import DataError, map_array, parsing, printable, unpacked_limit


@given(st.text(st.characters(exclude_categories=[]), max_size=400))
def test_printable_is_one_line_that_every_terminal_can_show(text):
    shown = printable(text)
    assert shown.isprintable()
    assert len(shown) <= 303
    shown.encode()


@given(st.text(st.characters(exclude_categories=["C", "Z"]), max_size=300))
def test_printable_leaves_ordinary_text_alone(text):
    assert printable(text) == text


def test_printable_escapes_and_shortens():
    assert printable("a\nb\udcff") == r"a\nb\udcff"
    assert printable("a" * 200 + "b" * 200) == "a" * 150 + "..." + "b" * 150


def test_data_error_is_one_line_with_its_three_parts():
    assert str(DataError("a\nfile", "wrong\rthing", "right thing")) == r"a\nfile: wrong\rthing; expected right thing"
    assert issubclass(DataError, ValueError)


@pytest.mark.parametrize(
    "error", [EOFError("end"), KeyError("key"), OSError(5, "no\nluck"), RecursionError(), SyntaxError()]
)
def test_parsing_turns_any_error_into_a_data_error(error):
    message = rf"^file: cannot be read \({type(error).__name__}: .*\); expected better$"
    with pytest.raises(DataError, match=message), parsing("file", "better"):
        raise error


@pytest.mark.parametrize("error", [DataError("file", "wrong", "right"), MemoryError(), KeyboardInterrupt()])
def test_parsing_lets_pass_what_already_says_it_all(error):
    with pytest.raises(type(error)) as caught, parsing("file", "better"):
        raise error
    assert caught.value is error


def test_unpacked_limit_grows_with_the_file_but_spares_small_ones():
    assert unpacked_limit(0) == unpacked_limit(1000) == 64 * 2**20
    assert unpacked_limit(10**7) == 10**9


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_mapped_array_is_the_one_in_the_file_and_read_only(tmp_path, rng, order):
    values = rng.normal(size=(3, 4)).astype(np.float32)
    (tmp_path / "file").write_bytes(b"head" + values.tobytes(order))
    mapped = map_array(tmp_path / "file", np.float32, 4, (3, 4), order)
    assert type(mapped) is np.memmap
    np.testing.assert_array_equal(mapped, values)
    with pytest.raises(ValueError, match="read-only"):
        mapped[0, 0] = 1


@pytest.mark.skipif(not hasattr(mmap, "MADV_RANDOM"), reason="this system takes no advice on how a file is read")
def test_a_mapped_array_is_announced_to_be_read_in_random_order(tmp_path, monkeypatch):
    advice = []

    class Mapping(mmap.mmap):
        def madvise(self, option):
            advice.append(option)

    monkeypatch.setattr(mmap, "mmap", Mapping)
    (tmp_path / "file").write_bytes(bytes(100))
    map_array(tmp_path / "file", np.uint8, 0, (10, 10))
    assert advice == [mmap.MADV_RANDOM]
