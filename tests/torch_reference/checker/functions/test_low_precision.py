"""What gradients in bfloat16 are held to, where scatters are known: at each limit, below and above."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch_reference.checker.allowance import Allowance  # noqa: E402 (needs torch)
from torch_reference.checker.case import Given  # noqa: E402
from torch_reference.checker.formats import BFLOAT16, FLOAT16  # noqa: E402
from torch_reference.checker.functions.loss import Loss  # noqa: E402
from torch_reference.checker.functions.low_precision import LowPrecision, _scatter  # noqa: E402
from torch_reference.checker.reference.evaluation import Reference  # noqa: E402

LAST = 2.0**-8  # half a unit in the last place of 1
ONES = np.ones(8)


def held(given, right=ONES, stored=0.0, coarse=0.0, epsilon=BFLOAT16.epsilon):
    """Return the budget of a gradient with given scatters, and an allowance without any: rounding is all there is."""
    right, given = np.asarray(right, float), np.asarray(given, float)
    budget = LowPrecision({"x": Given(given, BFLOAT16)}, None, None)
    vars(budget).update(
        _stored={"x": np.broadcast_to(stored, right.shape)}, _coarse={"x": np.broadcast_to(coarse, right.shape)}
    )
    return budget, Allowance(None, {"x": right}, epsilon, 2.0**-52, 0, True, 1, {"x": np.zeros(right.shape)})


def assert_held_to(found, expected):
    # float32 inside may round a few times besides
    np.testing.assert_allclose(found, np.broadcast_to(expected, found.shape), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("right", "off", "expected"),
    [
        ([1.0, -2.0], [0.99 * LAST, 0.0], [LAST, 2 * LAST]),  # nothing but the last rounding
        ([1.0, -2.0], [0.0399, 0.0], [0.05 + 2 * LAST, 0.10 + 4 * LAST]),  # all are cut off
        ([1.0, -2.0], [0.0399, 0.099], [0.05 + 2 * LAST, 0.10 + 4 * LAST]),
        ([1.0, -2.0], [0.0501, 0.0], [0.05 + LAST, 0.10 + 2 * LAST]),  # one is rounded up
        ([1.0, -2.0], [0.0399, -0.101], [0.05 + LAST, 0.10 + 2 * LAST]),
        ([1.0, -2.0], [-0.06, 0.101], [0.05 + 2 * LAST, 0.10 + 4 * LAST]),
    ],
)
def test_the_fine_budget_is_the_last_rounding_and_that_of_stored_outputs(right, off, expected):
    budget, allowance = held(np.add(right, off), right, stored=[0.01, 0.02])
    assert_held_to(budget.fine(allowance, "x"), expected)


def test_zero_rounds_to_half_of_the_smallest_number():
    budget, allowance = held(np.zeros(2), np.zeros(2))
    np.testing.assert_allclose(budget.fine(allowance, "x"), BFLOAT16.spacing / 2, rtol=1e-3)


def test_a_gradient_of_another_shape_keeps_to_nothing():
    budget, allowance = held(np.ones(3), np.ones(2), stored=0.01, coarse=0.01)
    assert_held_to(budget.fine(allowance, "x"), 0.05 + LAST)
    assert not budget.is_fine(allowance, "x")
    assert_held_to(budget.allowed(allowance, "x"), 0.05 + LAST)


@pytest.mark.parametrize(("off", "fine"), [(0.0539, True), (0.0541, False), (-0.0577, True), (-0.0579, False)])
def test_fine_is_what_keeps_to_it(off, fine):
    budget, allowance = held(ONES + off, stored=0.01)
    assert budget.is_fine(allowance, "x") is fine


COARSE = 5 * 0.01 + LAST


@pytest.mark.parametrize(
    ("off", "count", "expected"),
    [
        (0.003, 8, LAST),  # fine
        (0.0159, 8, COARSE),  # 1.59 times the scatter, in the mean
        (0.0161, 8, LAST),  # too far out together
        (0.0161, 7, COARSE),  # too few to tell
        (0.0538, 7, COARSE),
        (0.06, 8, COARSE),  # more than coarse explains
    ],
)
def test_the_coarse_budget_holds_where_entries_do_not_lie_far_out_together(off, count, expected):
    budget, allowance = held(np.ones(count) + off, np.ones(count), coarse=0.01)
    assert_held_to(budget.allowed(allowance, "x"), expected)


def test_entries_without_scatter_do_not_count():
    off = np.append(np.full(8, 0.0165), 0.0)
    scatter = np.append(np.full(8, 0.01), 0.0)
    budget, allowance = held(1 + off, np.ones(9), coarse=scatter)
    assert_held_to(budget.allowed(allowance, "x"), LAST)
    budget, allowance = held(1 + off[1:], np.ones(8), coarse=scatter[1:])
    assert_held_to(budget.allowed(allowance, "x"), np.maximum(LAST, 5 * scatter[1:] + LAST))


def test_lower_precisions_are_those_at_least_as_coarse():
    for epsilon, formats in ((FLOAT16.epsilon, [FLOAT16, BFLOAT16]), (BFLOAT16.epsilon, [BFLOAT16])):
        budget, allowance = held(ONES, epsilon=epsilon)
        allowance.extra["x"] = 100 * ONES
        found = budget.lower(allowance, "x")
        assert [each for each, _ in found] == formats
        for each, allowed in found:
            np.testing.assert_allclose(allowed, 4 * each.epsilon / 2 * ONES, rtol=1e-3)


def test_coarseness_compares_with_right_entries_rounded_once():
    right = 1 + 2.0**-9 * np.ones(4)  # rounds down to 1
    assert held(1 + 2.0**-7 * np.ones(4), right)[0].coarseness(held(right, right)[1], "x") == 3.0
    assert held(np.ones(4), right)[0].coarseness(held(right, right)[1], "x") == 1.0
    assert held(1 + np.ones(4), np.ones(4))[0].coarseness(held(right, np.ones(4))[1], "x") == np.inf


def test_the_scatter_is_that_of_a_gaussian():
    plain = {"x": np.array([2.0])}
    assert _scatter([{"x": plain["x"] + 1}, {"x": plain["x"] - 3}], plain)["x"] == 1.25 * 2


def measured(function, x):
    calls = []

    def reference(x):
        calls.append(x.dtype)
        return function(x)

    upstream = {"output": torch.ones(x.shape, dtype=x.dtype)}
    loss = Loss(reference, {"x": x}, upstream)
    tensors = upstream | {"x": x}
    budget = LowPrecision({}, Reference(loss, tensors, ("output", "x"), pairs=loss.pairs), loss)
    return budget, calls


def test_what_is_stored_scatters_by_a_rounding():
    budget, calls = measured(torch.exp, torch.zeros(500, dtype=torch.bfloat16))
    found = budget._stored
    assert len(calls) == 1 + 3
    assert not found["output"].any()  # the gradient reads the output again, the output itself is rounded elsewhere
    # at most half a unit; of a mean size of a quarter
    assert np.median(found["x"]) == pytest.approx(1.25 * 2.0**-7 / 4, rel=0.2)


@pytest.mark.parametrize("cast", [False, True])
def test_native_operations_scatter_by_a_rounding_each_whether_or_not_the_reference_casts(cast):
    def function(x):
        return torch.exp(x.float()).to(x.dtype) if cast else torch.exp(x)

    budget, calls = measured(function, torch.zeros(300, dtype=torch.bfloat16))
    found = budget._coarse
    assert len(calls) == 1 + 2 * 8
    # 1 goes down to its neighbour one time in four, and never up: that is twice as far
    assert found["output"].mean() == pytest.approx(1.25 * 2.0**-8 / 4, rel=0.15)
    assert found["output"].mean() < found["x"].mean() < 3 * found["output"].mean()


def test_what_pytorch_does_not_compute_in_a_low_precision_scatters_nothing():
    budget, _ = measured(lambda x: torch.linalg.inv(x) if x.dtype == torch.float64 else 1 / 0, torch.eye(2).bfloat16())
    assert not budget._coarse["x"].any()
