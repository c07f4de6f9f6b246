"""The side under test is called on copies, and whatever it changes is noticed."""

import numpy as np
import pytest

pytest.importorskip("torch")
from torch_reference.checker.manual import called


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
