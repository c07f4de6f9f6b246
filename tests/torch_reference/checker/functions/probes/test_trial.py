"""When two answers of a function are alike: at the limit and beyond, with None, infinities and NaN."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch_reference.checker.functions.probes.calls import Answer  # noqa: E402 (needs torch)
from torch_reference.checker.functions.probes.trial import Trial, largest, numpy, within  # noqa: E402

INF, NAN = float("inf"), float("nan")


def tensor(*entries, dtype=torch.float64):
    return torch.tensor(entries, dtype=dtype)


def trial(allowed=0.0, gradient=None):
    answer = Answer({"output": tensor(1.0)}, {"x": gradient})
    return Trial(lambda x: x, {}, {}, ("x",), 0, answer, lambda name: np.asarray(allowed))


@pytest.mark.parametrize(
    ("one", "other", "allowed", "expected"),
    [
        (None, None, 0, True),
        (None, tensor(0.0), 0, True),
        (tensor(0.0), None, 0, True),
        (None, tensor(0.0, 1.0), 0, False),
        (tensor(NAN), None, 0, False),
        (tensor(1.0), tensor(1.0, 1.0), 9, False),
        (tensor(1.5), tensor(1.0), 0.5, True),
        (tensor(1.0), tensor(1.5), 0.49, False),
        (tensor(1.0, 2.0), tensor(1.5, 2.0), [0.5, 0.0], True),
        (tensor(1.0, 2.0), tensor(1.5, 2.0), [0.0, 0.5], False),
        (tensor(1, dtype=torch.int64), tensor(2, dtype=torch.int64), 9, False),
        (tensor(2, dtype=torch.int64), tensor(2, dtype=torch.int32), 0, True),
        (tensor(INF, NAN), tensor(INF, NAN), 0, True),
        (tensor(INF, 1.0), tensor(INF, 1.5), 0.5, True),
        (tensor(INF), tensor(-INF), 9, False),
        (tensor(NAN), tensor(1.0), 9, False),
    ],
)
def test_alike(one, other, allowed, expected):
    assert trial(allowed).alike("x", one, other) is expected


UNIT = 2.0**-52


@pytest.mark.parametrize(
    ("whole", "parts", "allowed", "expected"),
    [
        (None, [None, None], 0, True),
        (None, [tensor(0.0), None], 0, True),
        (None, [tensor(0.0), tensor(1.0)], 0, False),
        (tensor(0.0), [None], 0, True),
        (tensor(1.0), [None], 0, False),
        (tensor(1.0), [], 0, False),
        (tensor(), [tensor()], 0, True),
        (tensor(3.0), [tensor(1.0), None, tensor(2.0)], 0, True),
        (tensor(3.0 + 48 * UNIT), [tensor(1.0), tensor(2.0)], 0, True),  # 16 roundings of 1 + 2
        (tensor(3.0 + 50 * UNIT), [tensor(1.0), tensor(2.0)], 0, False),
        (tensor(3.0 + 248 * UNIT), [tensor(1.0), tensor(2.0)], 100 * UNIT, True),  # and twice what is allowed
        (tensor(3.0 + 250 * UNIT), [tensor(1.0), tensor(2.0)], 100 * UNIT, False),
        (tensor(3.0 - 50 * UNIT), [tensor(1.0), tensor(2.0)], 0, False),
        (tensor(3.0), [tensor(-1.0), tensor(-2.0)], 0, False),
        (tensor(0.0, 48 * UNIT), [tensor(3.0, 0.0), tensor(-3.0, 0.0)], 0, True),
        (tensor(3.0 + 2.0**-18, dtype=torch.float32), [tensor(3.0, dtype=torch.float32)], 0, True),
        (tensor(INF, 1.0), [tensor(INF, 1.0)], 0, True),
        (tensor(INF, 1.0), [tensor(INF, 2.0)], 0, False),
    ],
)
def test_parts_add_up(whole, parts, allowed, expected):
    assert trial(allowed, whole).adds_up("x", parts) is expected


@pytest.mark.parametrize(
    ("whole", "part", "expected"),
    [
        (3.0, 6.0, True),
        (3.0 + 48 * UNIT, 6.0, True),  # 16 roundings of the part
        (3.0 + 50 * UNIT, 6.0, False),
        (3.0 + 248 * UNIT, 6.0, True),  # and twice what is allowed, as many times
        (3.0 + 250 * UNIT, 6.0, False),
    ],
)
def test_parts_add_up_to_a_multiple(whole, part, expected):
    allowed = 100 * UNIT * (abs(whole - 3) > 100 * UNIT)
    assert trial(allowed, tensor(whole)).adds_up("x", [tensor(part)], times=2) is expected


def test_what_differs_is_named():
    plain = Answer({"a": tensor(1.0), "b": tensor(2.0), "c": tensor(3.0)}, {"x": None, "y": tensor(1.0)})
    other = Answer({"a": tensor(1.0), "b": tensor(9.0)}, {"x": tensor(0.0), "y": tensor(2.0)})
    assert trial().differing(other, plain) == ["b", "c", "y"]
    assert trial(gradient=tensor(2.0)).differing(Answer({"output": tensor(1.0)}, {"x": tensor(3.0)})) == ["x"]


@pytest.mark.parametrize(
    ("entries", "size"),
    [([], 0), ([-3, 2], 3), ([3, -2], 3), ([INF, -2, 1], 2), ([NAN, 5], 5), ([NAN], 0), ([-INF, 7], 7)],
)
def test_the_largest_finite_entry(entries, size):
    assert largest(np.array(entries, float)) == size


def test_bfloat16_is_seen_as_float32():
    assert numpy(tensor(1.5, dtype=torch.bfloat16)).dtype == np.float32
    assert numpy(tensor(1.5, dtype=torch.float16)).dtype == np.float16


def test_within_without_an_allowance_is_equality():
    assert within(np.array([1.0, NAN]), np.array([1.0, NAN]), None)
    assert not within(np.array([1.0, NAN]), np.array([1.0, 1.0]), None)
    assert not within(np.array([1.0, 2.0]), np.array([1.0, 3.0]), None)
