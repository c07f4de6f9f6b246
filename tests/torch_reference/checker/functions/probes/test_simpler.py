"""Simpler points than a given one: which, in which order, and what is left of the upstream gradient there."""

import pytest

torch = pytest.importorskip("torch")
from torch_reference.checker.functions.probes.simpler import PARTS, simplified  # noqa: E402 (needs torch)


@pytest.mark.parametrize(
    ("size", "kept"),
    [
        (0, (0, 0, 0, 0)),
        (1, (0, 1, 1, -1)),
        (2, (1, 1, 1, -1)),
        (3, (2, 2, 1, -1)),
        (4, (3, 2, 1, -1)),
        (5, (4, 4, 1, -1)),
        (8, (7, 4, 1, -1)),
        (9, (8, 8, 1, -1)),
    ],
)
def test_how_many_entries_along_an_axis_are_kept(size, kept):
    assert tuple(part(size) for part, _ in PARTS) == kept


IGNORED = "Along axis {} of the output it ignores its upstream gradient {}: right only where that is 0."
MIXED = "It mixes its upstream gradient along axis {} of the output: right only for equal entries."


def test_every_simpler_upstream_gradient_of_a_matrix():
    given = torch.tensor([[1.0, 2, 3], [4, 5, 6]])
    found = list(simplified({"x": given}, {"output": given}))
    assert [(words, kind, point["output"].tolist()) for words, kind, _, point in found] == [
        (IGNORED.format(0, "in the last entry"), "ignored", [[1, 2, 3], [0, 0, 0]]),
        (IGNORED.format(0, "after a power of two"), "ignored", [[1, 2, 3], [0, 0, 0]]),
        (IGNORED.format(0, "after the first entry"), "ignored", [[1, 2, 3], [0, 0, 0]]),
        (IGNORED.format(0, "before the last entry"), "alone", [[0, 0, 0], [4, 5, 6]]),
        (IGNORED.format(1, "in the last entry"), "ignored", [[1, 2, 0], [4, 5, 0]]),
        (IGNORED.format(1, "after a power of two"), "ignored", [[1, 2, 0], [4, 5, 0]]),
        (IGNORED.format(1, "after the first entry"), "ignored", [[1, 0, 0], [4, 0, 0]]),
        (IGNORED.format(1, "before the last entry"), "alone", [[0, 0, 3], [0, 0, 6]]),
        (MIXED.format(0), "upstream", [[1, 2, 3], [1, 2, 3]]),
        (MIXED.format(1), "upstream", [[1, 1, 1], [4, 4, 4]]),
    ]
    assert all(inputs == {"x": given} for _, _, inputs, _ in found)


def test_one_output_after_the_other_without_an_upstream_gradient():
    upstream = {"output.0": torch.ones(2), "output.1": torch.ones(())}
    found = list(simplified({}, upstream))
    assert [words for words, *_ in found[:2]] == [
        f"It does not follow the upstream gradient of {name}: right only where that is zero." for name in upstream
    ]
    assert [point[name].any().item() for *_, point in found[:2] for name in upstream] == [False, True, True, False]
    assert len(found) == 2 + 4 + 1
    assert all(point["output.1"] == 1 for *_, point in found[2:])  # without axes it stays
    assert len(list(simplified({}, {"output": torch.ones(())}))) == 0


def test_strided_inputs_are_tried_contiguous_first():
    straight, turned = torch.ones(2, 3), torch.arange(6.0).reshape(3, 2).T
    words, kind, inputs, upstream = next(simplified({"x": straight, "y": turned, "n": 3}, {"output": straight}))
    assert (words, kind) == ("Wrong for these strides of y; right for contiguous tensors.", "layout")
    assert inputs["y"].is_contiguous()
    assert torch.equal(inputs["y"], turned)
    assert inputs["x"] is straight
    assert (inputs["n"], list(upstream)) == (3, ["output"])


@pytest.mark.parametrize(("axes", "number"), [(3, 15), (4, 20), (5, 20)])
def test_four_axes_at_most_are_tried(axes, number):
    assert len(list(simplified({}, {"output": torch.ones([2] * axes)}))) == number


def test_an_output_without_entries_stays_as_it_is():
    empty = torch.ones(2, 0)
    assert all(point["output"].shape == (2, 0) for *_, point in simplified({}, {"output": empty}))
