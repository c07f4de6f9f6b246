import pytest
from hypothesis import given
from hypothesis import strategies as st

from manual_backprop.reading import DataError, parsing, printable, unpacked_limit


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
