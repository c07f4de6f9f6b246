"""The worker's side: what leaves it, and what it says."""

import os

import numpy as np
import pytest

pytest.importorskip("torch")
from torch_reference.grading import worker


def test_a_message_arrives_whole_whatever_its_length():
    for length in (0, 1, 100):
        read, write = os.pipe()
        message = os.urandom(length)
        worker.send(write, message)
        os.close(write)
        assert worker.receive(read) == message
        assert worker.receive(read) == b""
        os.close(read)


def test_gradients_become_plain_arrays():
    class Labelled(np.ndarray):
        pass

    given = {
        "list": [1, 2],
        "scalar": 1.5,
        "none": None,
        "subclass": np.arange(4.0).view(Labelled),
        "reversed": np.arange(6).reshape(2, 3)[:, ::-1],
        "long": np.ones(2, np.longdouble),
    }
    arrays = worker.as_arrays(given)
    assert list(arrays) == ["list", "scalar", "subclass", "reversed", "long"]
    assert all(type(array) is np.ndarray and array.flags.c_contiguous for array in arrays.values())
    np.testing.assert_array_equal(arrays["reversed"], given["reversed"])
    assert arrays["long"].dtype == np.float64


@pytest.mark.parametrize("value", ["text", [[1], [2, 3]], 1j, object(), np.array(["a"])])
def test_what_is_no_array_of_numbers_is_refused(value):
    with pytest.raises(TypeError, match="not an array of real numbers"):
        worker.as_arrays({"x": value})


def test_an_error_is_one_line_with_its_place():
    code = compile("def f():\n    raise ValueError('two\\nlines')\nf()", "own.py", "exec")
    with pytest.raises(ValueError, match="two") as caught:
        exec(code, {})
    assert worker.explain(caught.value, "own.py") == "line 2, in f: ValueError: two lines"
    assert worker.explain(caught.value, "other.py") == "two lines"
