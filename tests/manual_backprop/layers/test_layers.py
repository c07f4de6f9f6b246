"""The functions by what must hold of them in exact arithmetic; test_gradients.py holds them against autograd."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from manual_backprop import layers

FLOATS = st.floats(-50, 50)
MATRICES = arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=6), elements=FLOATS)


def directional_derivative(function, x, direction):
    """Central difference in extended precision: step 1e-5 leaves an error near 1e-10 of the function's curvature."""
    step = np.longdouble(1e-5)
    x, direction = x.astype(np.longdouble), direction.astype(np.longdouble)
    return (function(x + step * direction) - function(x - step * direction)) / (2 * step)


def random_targets(rng, count, classes, kind):
    labels = rng.integers(0, classes, count)
    one_hot = np.eye(classes)[labels]
    return {"labels": labels, "one-hot": one_hot, "probabilities": rng.dirichlet(np.ones(classes), count)}[kind]


TARGETS = pytest.mark.parametrize("kind", ["labels", "one-hot", "probabilities"])


class TestLinear:
    def test_is_the_sum_written_out(self, rng):
        x, weight, bias = rng.integers(-9, 9, (3, 4)) * 1.0, rng.integers(-9, 9, (4, 2)) * 1.0, np.array([1.0, -2.0])
        expected = [[sum(x[n, i] * weight[i, j] for i in range(4)) + bias[j] for j in range(2)] for n in range(3)]
        np.testing.assert_array_equal(layers.linear(x, weight, bias), expected)  # small integers: exact

    def test_backward_is_the_sums_written_out(self, rng):
        grad_output, x, weight = (rng.integers(-9, 9, shape) * 1.0 for shape in ((3, 2), (3, 4), (4, 2)))
        grad_x, grad_weight, grad_bias = layers.linear_backward(grad_output, x, weight)
        np.testing.assert_array_equal(
            grad_x, [[sum(grad_output[n, j] * weight[i, j] for j in range(2)) for i in range(4)] for n in range(3)]
        )
        np.testing.assert_array_equal(
            grad_weight, [[sum(x[n, i] * grad_output[n, j] for n in range(3)) for j in range(2)] for i in range(4)]
        )
        np.testing.assert_array_equal(grad_bias, [sum(grad_output[n, j] for n in range(3)) for j in range(2)])


class TestRelu:
    @given(arrays(np.float64, array_shapes(max_dims=3), elements=st.floats(allow_nan=False)))
    def test_keeps_the_positive_and_stops_the_rest(self, x):
        np.testing.assert_array_equal(layers.relu(x), np.where(x > 0, x, 0))

    def test_gradient_at_zero_is_zero(self):
        x = np.array([-1.0, -0.0, 0.0, np.finfo(float).tiny, 1.0])
        np.testing.assert_array_equal(layers.relu_backward(np.full(5, 3.0), x), [0, 0, 0, 3, 3])


class TestSoftmax:
    @given(MATRICES)
    def test_rows_are_distributions(self, logits):
        probabilities = layers.softmax(logits)
        assert (probabilities >= 0).all()
        # K quotients, each rounded once, and their K - 1 additions
        np.testing.assert_allclose(probabilities.sum(axis=1), 1, rtol=2 * logits.shape[1] * np.finfo(float).eps)

    @given(arrays(np.float64, (3, 4), elements=st.integers(-30, 30)), st.integers(-1000, 1000))
    def test_shifting_a_row_changes_nothing(self, logits, shift):
        # differences of small integers are exact, and only differences enter
        np.testing.assert_array_equal(layers.softmax(logits + shift), layers.softmax(logits))

    def test_two_classes_give_the_logistic_function(self):
        np.testing.assert_allclose(layers.softmax(np.array([[np.log(3.0), 0.0]])), [[0.75, 0.25]], rtol=1e-15)  # 4 ulp

    @pytest.mark.parametrize("dtype", [np.float32, np.float64, np.longdouble])
    def test_never_overflows(self, dtype):
        largest = np.finfo(dtype).max
        np.testing.assert_array_equal(layers.softmax(np.array([[largest, -largest, 0]], dtype)), [[1, 0, 0]])


class TestCrossEntropy:
    def test_uniform_logits_cost_log_k(self):
        for targets in (np.array([0, 3]), np.full((2, 5), 0.2)):
            assert layers.cross_entropy(np.zeros((2, 5)), targets) == pytest.approx(np.log(5), rel=1e-15)  # few ulp

    @given(MATRICES, st.data())
    def test_labels_and_one_hot_rows_agree(self, logits, data):
        labels = data.draw(arrays(np.int64, len(logits), elements=st.integers(0, logits.shape[1] - 1)))
        one_hot = np.eye(logits.shape[1])[labels]
        assert layers.cross_entropy(logits, labels) == layers.cross_entropy(logits, one_hot)
        np.testing.assert_array_equal(
            layers.cross_entropy_backward(logits, labels), layers.cross_entropy_backward(logits, one_hot)
        )

    @TARGETS
    def test_gradient_is_the_slope_of_the_loss(self, rng, kind):
        logits, direction = rng.normal(size=(2, 7, 4))
        targets = random_targets(rng, 7, 4, kind)
        slope = directional_derivative(lambda z: layers.cross_entropy(z, targets), logits, direction)
        product = (layers.cross_entropy_backward(logits, targets) * direction).sum()
        assert product == pytest.approx(slope, abs=1e-9)  # the error of directional_derivative, with room for curvature

    @TARGETS
    def test_stays_finite_where_a_probability_underflows(self, kind, rng):
        logits = np.array([[1000.0, -1000.0, 0.0], [-1000.0, 0.0, 1000.0]])
        targets = random_targets(rng, 2, 3, kind)
        assert np.isfinite(layers.cross_entropy(logits, targets))
        assert np.isfinite(layers.cross_entropy_backward(logits, targets)).all()
        assert layers.cross_entropy(logits, np.array([1, 0])) == 2000

    def test_no_difference_of_logits_overflows(self):
        largest = np.finfo(np.float32).max
        logits = np.array([[largest, -largest, 0]], np.float32)
        assert layers.cross_entropy(logits, np.array([0])) == 0
        assert layers.cross_entropy(logits, np.array([[1, 0, 0]], np.float32)) == 0

    def test_gradient_of_rows_that_are_no_distributions_is_right_too(self, rng):
        logits, direction = rng.normal(size=(2, 3, 4))
        targets = rng.uniform(size=(3, 4))
        slope = directional_derivative(lambda z: layers.cross_entropy(z, targets), logits, direction)
        assert (layers.cross_entropy_backward(logits, targets) * direction).sum() == pytest.approx(slope, abs=1e-9)

    @pytest.mark.parametrize(
        ("targets", "message"),
        [
            (np.array([0, 3]), "label 3 is outside 0..2"),
            (np.array([-1, 0]), "label -1 is outside 0..2"),
            (np.array([0, 1, 2]), r"expected integer labels \(2,\) or probabilities \(2, 3\), got int64 \(3,\)"),
            (np.array([0.0, 1.0]), r"got float64 \(2,\)"),
            (np.zeros((3, 2)), r"got float64 \(3, 2\)"),
        ],
    )
    def test_refuses_targets_that_do_not_fit(self, targets, message):
        for function in (layers.cross_entropy, layers.cross_entropy_backward):
            with pytest.raises(ValueError, match=message):
                function(np.zeros((2, 3)), targets)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.longdouble])
@TARGETS
def test_every_function_keeps_the_dtype_and_its_inputs(rng, dtype, kind):
    x, weight, bias = (rng.normal(size=shape).astype(dtype) for shape in ((5, 4), (4, 3), (3,)))
    targets = random_targets(rng, 5, 3, kind)
    inputs = (x, weight, bias, targets)
    before = [value.copy() for value in inputs]
    logits = layers.linear(x, weight, bias)
    results = [
        logits,
        layers.relu(logits),
        layers.softmax(logits),
        layers.cross_entropy(logits, targets),
        layers.cross_entropy_backward(logits, targets),
        layers.relu_backward(logits, logits),
        *layers.linear_backward(logits, x, weight),
    ]
    assert {result.dtype for result in results} == {np.dtype(dtype)}
    for value, copy in zip(inputs, before, strict=True):
        np.testing.assert_array_equal(value, copy)
