"""The side under test is called on copies, and whatever it changes is noticed."""

import numpy as np
import pytest

pytest.importorskip("torch")
from torch_reference.checker.formats import FLOAT16, FLOAT64
from torch_reference.checker.manual import called, check_inputs, elsewhere, given
from torch_reference.checker.reference.evaluation import Reference


def test_changes_are_noticed_and_kept_from_the_caller(rng):
    inputs = {"x": rng.normal(size=4), "n": np.arange(3), "same": np.array([np.nan, 1.0])}
    before = {name: value.copy() for name, value in inputs.items()}

    def manual(x, n, same):
        x[1] += 1
        n[0] = 7
        return {"x": x}

    gradients, changed = called(manual, inputs)
    assert changed == {"x", "n"}
    for name, value in inputs.items():
        np.testing.assert_array_equal(value, before[name])
    np.testing.assert_array_equal(gradients["x"], before["x"] + [0, 1, 0, 0])


def test_what_is_returned_is_copied(rng):
    buffer = np.zeros(3)

    def manual(x):
        buffer[:] = 2 * x
        return {"x": buffer}

    first, _ = called(manual, {"x": np.ones(3)})
    buffer[:] = 9
    np.testing.assert_array_equal(first["x"], [2, 2, 2])


def test_memory_order_is_kept_and_scalars_stay_scalars(rng):
    seen = {}

    def manual(**inputs):
        seen.update(inputs)
        return {"a": 1.0}

    called(manual, {"f": np.asfortranarray(rng.normal(size=(3, 4))), "a": 0.5})
    assert seen["f"].flags.f_contiguous
    assert isinstance(seen["a"], float)


def test_a_gradient_of_ragged_lists_is_refused():
    with pytest.raises(TypeError, match="not an array of real numbers"):
        called(lambda x: {"x": [[1.0], [1.0, 2.0]]}, {"x": np.ones(3)})


@pytest.mark.parametrize("change", ["values", "shape", "from_nan", "to_nan", "nothing"])
def test_any_change_of_an_input_is_noticed(change):
    def manual(x):
        if change == "shape":
            x.shape = (2, 2)
        elif change != "nothing":
            x[{"from_nan": 0}.get(change, 1)] = np.nan if change == "to_nan" else 5.0
        return {"x": 1.0}

    _, changed = called(manual, {"x": np.array([np.nan, 1.0, 2.0, 3.0])})
    assert changed == (set() if change == "nothing" else {"x"})


@pytest.mark.parametrize(
    ("inputs", "error", "message"),
    [
        ({"x": [1.0]}, TypeError, "input 'x' is of type list, not a NumPy array: wrap it in np.array"),
        ({"x": np.array(["a"])}, TypeError, "input 'x' has dtype <U1: only real numbers can be checked"),
        ({"x": np.ones(2, complex)}, TypeError, "input 'x' has dtype complex128: only real numbers can be checked"),
        ({"n": np.arange(3), "b": True}, ValueError, "none of the inputs is a floating array"),
    ],
)
def test_inputs_that_cannot_be_checked_are_refused(inputs, error, message):
    with pytest.raises(error, match=message):
        check_inputs(inputs)


def test_inputs_of_real_numbers_are_taken():
    check_inputs({"x": np.float32(1), "n": np.arange(3, dtype=np.uint8), "b": np.array(True), "k": 3})
    check_inputs({"x": 0.5})


def test_whole_numbers_count_as_float64():
    found = given({"x": np.ones(2, np.float16), "n": np.arange(2)})
    assert (found["x"].returned, found["n"].returned) == (FLOAT16, FLOAT64)
    assert (found["x"].values.dtype, found["n"].values.dtype) == (np.float16, np.float64)


def moved(inputs, manual=lambda **inputs: {"x": 1}, everything=True, amount=0.1):
    reference = Reference(lambda x, **_: (x * x).sum(), inputs, ("x",))
    return elsewhere(manual, reference, ("x",), 0, amount, everything)


def test_inputs_move_by_a_relative_amount_up_and_down():
    x = np.linspace(1, 2, 400, dtype=np.float32)
    inputs = {"x": x, "t": np.ones(3), "n": np.arange(3)}
    gradients, found = moved(inputs)
    ratio = found["x"] / x
    assert found["x"].dtype == np.float32
    assert 0.9 <= ratio.min() < 0.905
    assert 1.095 < ratio.max() <= 1.1 + 1e-6
    assert gradients["x"].dtype == np.float64
    assert (found["t"] != 1).all()
    assert found["n"] is inputs["n"]
    assert moved(inputs, everything=False)[1]["t"] is inputs["t"]


def test_inputs_that_may_not_move_stay():
    inputs = {"x": np.ones(3), "t": np.ones(3)}

    def refuses(x, t):
        if (t != 1).any():
            raise ValueError
        return {"x": x}

    _, found = moved(inputs, refuses)
    assert found["t"] is inputs["t"]
    assert (found["x"] != 1).all()
    assert moved(inputs, lambda **inputs: {}["x"]) is None
