"""The picture shows what the verdict is about."""

import numpy as np
import pytest

pytest.importorskip("torch")
from torch_reference import crosscheck
from torch_reference.checker.report.gradient import GradientReport
from torch_reference.checker.report.panels import panels


def shown(wrong, shape=(4, 3)):
    """The panels of a gradient 2 x that `wrong` has changed."""
    x = np.random.default_rng(0).normal(size=shape)
    report = crosscheck(lambda x: {"x": wrong(2 * x)}, lambda x: (x * x).sum(), {"x": x})
    return report.gradients["x"], panels(report.gradients["x"]), 2 * x


def test_a_factor_is_shown_as_the_ratio_and_neither_gradient_is_washed_out():
    gradient, (manual, autograd, ratio), right = shown(lambda g: 32 * g)
    assert gradient.code == "scale"
    np.testing.assert_array_equal(ratio.values, 32.0)
    assert (ratio.low, ratio.high) == (0, 32)
    assert manual.high == 32 * np.abs(right).max()
    assert autograd.high == np.abs(right).max()


def test_a_sign_is_a_ratio_too():
    _, (manual, autograd, ratio), _ = shown(np.negative)
    np.testing.assert_array_equal(ratio.values, -1.0)
    assert (ratio.low, ratio.high) == (-1, 1)
    assert manual.high == autograd.high


def test_of_a_partial_gradient_only_wrong_entries_are_marked():
    def wrong(g):
        g[1, 2] += 1e-6
        return g

    gradient, (manual, autograd, marked), _ = shown(wrong)
    assert gradient.code == "partial"
    assert np.argwhere(~np.isnan(marked.values)).tolist() == [[1, 2]]
    assert marked.values[1, 2] == pytest.approx(1e-6)
    assert "1 wrong of 12 entries" in marked.title
    assert manual.high == autograd.high


def test_of_different_shapes_there_is_no_difference():
    _, (manual, autograd), _ = shown(lambda g: g[None])
    assert (manual.title, autograd.title) == ("manual (1,4,3)", "autograd (4,3)")
    np.testing.assert_array_equal(manual.values, autograd.values)


@pytest.mark.parametrize("shape", [(), (1,), (0,), (2, 0, 3), (2, 3, 4, 5)])
@pytest.mark.parametrize("wrong", [lambda g: g + 1, lambda g: g * np.nan, lambda g: 3 * g, lambda g: 0 * g])
def test_every_panel_is_an_image_with_a_range(shape, wrong):
    _, found, _ = shown(wrong, shape)
    for panel in found:
        assert panel.values.ndim == 2
        assert not np.isinf(panel.values).any()
        assert panel.low < panel.high


def ranges(manual, reference, code="mismatch", marked=None):
    manual, reference = np.array(manual, float), np.array(reference, float)
    gradient = GradientReport("x", code, "", manual, reference, 1, marked)
    return [(panel.low, panel.high) for panel in panels(gradient)]


@pytest.mark.parametrize(
    ("manual", "reference", "expected"),
    [
        ([3.75, 1], [1, 0], [(-3.75, 3.75), (-3.75, 3.75), (-2.75, 2.75)]),
        ([4, 1], [1, 0], [(-4, 4), (-1, 1), (-3, 3)]),  # four times as large: each its own
        ([1, 0], [-6, 0], [(-1, 1), (-6, 6), (-7, 7)]),
        ([np.inf, 0.5], [0.25, 0.5], [(-0.5, 0.5), (-0.5, 0.5), (-1, 1)]),
        ([[2], [1]], [2, 1], [(-2, 2), (-2, 2)]),
    ],
)
def test_the_ends_of_the_colours(manual, reference, expected):
    assert ranges(manual, reference) == expected


@pytest.mark.parametrize(
    ("manual", "expected"), [([6, 3], (0, 3)), ([1, 0.5], (0, 1)), ([-6, -3], (-3, 1)), ([2.5, 9], (0, 5.125))]
)
def test_a_ratio_is_shown_from_zero_or_one_to_its_median(manual, expected):
    assert ranges(manual, [2, 1], "scale")[2] == expected
    assert ranges([*manual, 7], [2, 1, 1e-9], "scale")[2] == expected  # nothing is divided by what is almost zero


def test_an_array_of_any_shape_is_a_picture():
    array = np.arange(24.0).reshape(2, 3, 4)
    picture = panels(GradientReport("x", "mismatch", "", array, array + 1, 24, None))[0].values
    np.testing.assert_array_equal(picture, array.reshape(6, 4))
    number = panels(GradientReport("x", "mismatch", "", np.array(3.0), np.array(1.0), 1, None))[0].values
    np.testing.assert_array_equal(number, [[3]])
