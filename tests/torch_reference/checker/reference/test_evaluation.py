"""What autograd says, evaluated without leaving a trace."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch_reference.checker.formats import FLOAT16, FLOAT32, FLOAT64  # noqa: E402 (needs torch)
from torch_reference.checker.reference.evaluation import (  # noqa: E402 (needs torch)
    IndependentError,
    Reference,
    exact,
    is_floating,
)


def test_inputs_of_lower_precision_are_lifted_and_unused_ones_have_gradient_zero(rng):
    inputs = {"x": rng.normal(size=3).astype(np.float32), "unused": np.ones((2, 2)), "n": np.arange(3)}
    autograd = Reference(lambda x, unused, n: (x * x * n).sum(), inputs, ("x", "unused"))
    gradients = autograd.gradients()
    np.testing.assert_array_equal(gradients["x"], 2.0 * inputs["x"].astype(float) * inputs["n"])
    np.testing.assert_array_equal(gradients["unused"], np.zeros((2, 2)))
    assert autograd.coarsest is FLOAT32
    assert autograd.native().gradients()["x"].dtype == np.float64


def test_python_numbers_do_not_count_as_float64(rng):
    inputs = {"x": rng.normal(size=3).astype(np.float32), "a": 0.5}
    autograd = Reference(lambda x, a: a * x.sum(), inputs, ("x", "a"))
    assert autograd.coarsest is FLOAT32
    assert autograd.gradients()["a"].shape == ()


def test_a_loss_with_dropout_is_the_same_every_time(rng):
    inputs = {"x": rng.normal(size=100)}
    autograd = Reference(lambda x: torch.nn.functional.dropout(x).sum(), inputs, ("x",), 5)
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first, second = autograd.gradients()["x"], autograd.gradients()["x"]
    np.testing.assert_array_equal(first, second)
    assert 0 < np.count_nonzero(first) < 100
    assert torch.equal(torch.get_rng_state(), state)


def test_tensors_that_the_loss_creates_have_the_precision_of_the_evaluation(rng):
    inputs = {"x": rng.normal(size=3).astype(np.float32)}
    seen = []

    def reference(x):
        seen.append(torch.zeros(3).dtype)
        return (x + torch.zeros(3)).sum()

    Reference(reference, inputs, ("x",)).gradients()
    assert seen == [torch.float64]
    assert torch.get_default_dtype() == torch.float32


def test_inputs_nearer_to_the_loss_have_less_depth(rng):
    inputs = {"first": rng.normal(size=(3, 3)), "second": rng.normal(size=(3, 3)), "third": np.array(2.0)}
    autograd = Reference(lambda first, second, third: third * (second @ first.tanh()).sum(), inputs, tuple(inputs))
    depths = autograd.depths()
    assert depths["third"] < depths["second"] < depths["first"]


def test_the_caller_s_arrays_stay_as_they_are(rng):
    x = rng.normal(size=4)
    before = x.copy()
    Reference(lambda x: (x.detach().mul_(2) * x).sum(), {"x": x}, ("x",)).gradients()
    np.testing.assert_array_equal(x, before)


def test_gradients_of_two_inputs_do_not_share_memory():
    inputs = {"x": np.arange(6.0).reshape(2, 3), "y": np.ones((2, 3))}
    found = Reference(lambda x, y: (x + y).square().sum() + x.sum(), inputs, ("x", "y")).gradients()
    assert not np.shares_memory(found["x"], found["y"])
    added = Reference(lambda x, y: (x + y).sum(), inputs, ("x", "y")).gradients()
    added["x"] *= 2  # in place, as the check does
    np.testing.assert_array_equal(added["y"], 1)


@pytest.mark.parametrize(
    ("returned", "error", "words"),
    [
        (lambda x: 3.0, TypeError, "reference must return a scalar tensor, but it returned float"),
        (lambda x: x, ValueError, "reference must return a scalar loss, but its shape is (2,)"),
        (lambda x: x[:0], ValueError, "reference must return a scalar loss, but its shape is (0,)"),
        (lambda x: (x > 0).sum(), TypeError, "reference must return a floating loss, but its dtype is torch.int64"),
        (
            lambda x: x.detach().sum(),
            IndependentError,
            "the loss of reference depends on none of the floating inputs: is it detached?",
        ),
    ],
)
def test_what_is_no_loss_is_refused(returned, error, words):
    with pytest.raises(error) as refused:
        Reference(returned, {"x": np.ones(2)}, ("x",)).gradients()
    assert str(refused.value) == words


def test_a_loss_of_one_entry_may_have_axes():
    reference = Reference(lambda x: x[None, :1] * 3, {"x": np.array([2.0, 1.0])}, ("x",))
    assert reference.loss() == 6
    np.testing.assert_array_equal(reference.gradients()["x"], [3, 0])
    assert reference.returned().shape == (1, 1)


@pytest.mark.parametrize(
    ("value", "lifted", "native"),
    [
        (np.float32([1.5]), torch.float64, torch.float32),
        (np.array([1.5], ">f4"), torch.float64, torch.float32),
        (np.float16([1.5]), torch.float64, torch.float16),
        (1.5, torch.float64, torch.float64),
        (torch.tensor([1.5], dtype=torch.bfloat16), torch.float64, torch.bfloat16),
        (torch.tensor([1]), torch.int64, torch.int64),
        (np.uint16([1]), torch.int64, torch.int64),
        (np.array([1], ">i4"), torch.int32, torch.int32),
        (np.uint8([1]), torch.uint8, torch.uint8),
        (np.int8([1]), torch.int8, torch.int8),
        (np.array([True]), torch.bool, torch.bool),
    ],
)
def test_the_tensors_that_inputs_become(value, lifted, native):
    reference = Reference(lambda x: x.sum(), {"x": value}, ("x",))
    for each, dtype in ((reference, lifted), (reference.native(), native)):
        tensor = each.tensors()["x"]
        assert tensor.dtype == dtype
        assert tensor.tolist() == (value if isinstance(value, float) else value.tolist())
    assert is_floating(value) == lifted.is_floating_point
    array = exact(value)
    assert array.dtype == (np.float64 if lifted.is_floating_point else array.dtype)
    if isinstance(value, torch.Tensor):
        value.add_(1)
        assert array.tolist() != value.tolist()


def test_the_lowest_precision_is_that_of_the_floating_arrays():
    def coarsest(**inputs):
        return Reference(lambda **_: None, inputs, ()).coarsest

    assert coarsest() is coarsest(a=1.5, n=np.arange(3), t=torch.arange(3)) is FLOAT64
    assert coarsest(x=np.ones(2), y=np.float32([1])) is FLOAT32
    assert coarsest(x=np.float32([1]), y=torch.ones(2, dtype=torch.float16)) is FLOAT16


def test_depths_count_operations_and_the_reshaping_of_the_loss():
    inputs = {"first": np.ones(2), "second": np.ones(2), "third": np.array(2.0), "unused": np.ones(1)}
    reference = Reference(lambda first, second, third, unused: third * (second * first.exp()).sum(), inputs, (*inputs,))
    assert reference.depths() == {"third": 2, "second": 4, "first": 5}
    assert Reference(lambda x: x.sum() + x.exp().sum(), {"x": np.ones(2)}, ("x",)).depths() == {"x": 3}


def test_the_gradient_by_a_weight_of_an_output_is_the_output():
    inputs = {"x": np.array([1.0, 2.0]), "g": np.array([3.0, 4.0]), "h": np.array([5.0, 6.0])}

    def pairs(x, g, h):
        return {"g": x * x, "h": torch.tensor([7.0, 8.0])}

    def loss(x, g, h):
        return (x * x * g).sum() + (torch.tensor([7.0, 8.0]) * h).sum()

    paired = Reference(loss, inputs, ("g", "x", "h"), pairs=pairs).gradients()
    plain = Reference(loss, inputs, ("g", "x", "h")).gradients()
    assert list(paired) == ["g", "x", "h"]
    for name, value in plain.items():
        np.testing.assert_array_equal(paired[name], value)


def test_chance_is_that_of_seed_0_unless_another_is_asked_for():
    drawn = []
    reference = Reference(lambda x: drawn.append(torch.rand(3)) or x.sum(), {"x": np.ones(2)}, ("x",))
    reference.loss()
    Reference(reference.function, reference.inputs, ("x",), 1).loss()
    for seed, found in enumerate(drawn):
        assert torch.equal(found, torch.rand(3, generator=torch.Generator().manual_seed(seed)).to(found.dtype))


def test_views_of_one_gradient_get_memory_of_their_own():
    inputs = {"x": np.ones((2, 3)), "y": np.ones(())}
    found = Reference(lambda x, y: x.sum() + y, inputs, ("x", "y")).gradients()
    assert found["x"].flags.owndata or found["x"].base is not None
    found["x"][0, 0] = 7
    assert found["x"].tolist() == [[7, 1, 1], [1, 1, 1]]
    assert found["y"] == 1
