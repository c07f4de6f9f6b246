import numpy as np
import pytest

from manual_backprop import MLP, cross_entropy
from manual_backprop.data.datasets import Split
from manual_backprop.fast.in_place import GradientArrays, InPlaceBackprop


def test_gradient_arrays_have_the_parameters_shapes_and_fill_one_vector():
    mlp = MLP.xavier([4, 80, 70, 3, 3])  # wide and narrow layers
    gradients = GradientArrays(mlp)
    gradients.vector[:] = np.arange(len(gradients.vector))
    assert list(gradients.arrays) == list(mlp.parameters)
    for name, value in mlp.parameters.items():
        assert (gradients.arrays[name].shape, gradients.arrays[name].dtype) == (value.shape, value.dtype)
    entries = np.concatenate([array.ravel() for array in gradients.arrays.values()])
    np.testing.assert_array_equal(np.sort(entries), gradients.vector)  # each entry in one place, none left out


@pytest.mark.parametrize("count", [1, 7, 8, 9, 64, 70])
def test_blocks_of_any_length_in_any_order_leave_no_trace_of_the_block_before(rng, count):
    mlp = MLP.xavier([5, 7, 6, 3], dtype=np.float64)
    for value in mlp.parameters.values():
        value[...] = rng.integers(-4, 5, value.shape) / 4  # exact logits
    examples = Split(rng.integers(0, 5, (200, 5)) / 4, rng.integers(0, 3, 200))
    used, fresh = InPlaceBackprop(mlp, 70), InPlaceBackprop(mlp, count)
    _, kept = used.forward(examples, slice(0, 70))
    used.backward(kept, 70, used.gradients)
    rows = slice(100, 100 + count)
    score, kept = used.forward(examples, rows)
    used.backward(kept, count, used.gradients)
    expected, kept = fresh.forward(examples, rows)
    assert score == expected
    fresh.backward(kept, count, fresh.gradients)
    np.testing.assert_array_equal(used.gradients.vector, fresh.gradients.vector)
    logits = mlp(examples.images[rows])
    assert (score.correct, score.examples) == ((logits.argmax(axis=1) == examples.labels[rows]).sum(), count)
    # a loss of a few units and a sum over 70 rows: under 200 roundings
    assert score.loss == pytest.approx(float(cross_entropy(logits, examples.labels[rows])) * count, rel=1e-13)


def test_gradient_is_that_of_a_mean_over_the_whole_batch(rng):
    mlp = MLP.xavier([5, 7, 3], dtype=np.float64)
    examples = Split(rng.integers(0, 5, (20, 5)) / 4, rng.integers(0, 3, 20))
    block = InPlaceBackprop(mlp, 20)
    _, kept = block.forward(examples, slice(None))
    block.backward(kept, 1, block.gradients)
    whole = block.gradients.vector.copy()
    block.backward(kept, 1, block.gradients)
    np.testing.assert_array_equal(block.gradients.vector, whole)  # what a pass keeps serves more than once
    block.backward(kept, 1024, block.gradients)
    np.testing.assert_array_equal(block.gradients.vector * 1024, whole)  # a power of two: exact


def test_confident_networks_have_the_textbook_s_finite_loss():
    mlp = MLP.xavier([1, 2], dtype=np.float32)
    mlp.parameters["layers.0.weight"][:] = [[3e38, -3e38]]
    examples = Split(np.ones((1, 1), np.float32), np.array([1]))
    with np.errstate(over="ignore"):
        score, _ = InPlaceBackprop(mlp, 1).forward(examples, slice(None))
    assert score.loss == cross_entropy(mlp(examples.images), examples.labels) == np.finfo(np.float32).max
