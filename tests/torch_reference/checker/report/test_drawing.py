"""The picture of a report can be drawn for every shape, for NaN, and where shapes differ."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch_reference import crosscheck  # noqa: E402 (needs torch)
from torch_reference.checker.report import drawing  # noqa: E402
from torch_reference.checker.report.panels import Panel  # noqa: E402


def tripled(x):
    return 3 * x


@pytest.mark.parametrize(
    ("shape", "wrong"),
    [(shape, tripled) for shape in [(), (5,), (3, 4), (2, 3, 4), (2, 3, 4, 2)]]
    + [((3, 4), lambda x: x * np.nan), ((5,), lambda x: (2 * x)[None]), ((2, 3, 4), lambda x: (2 * x)[None])],
)
def test_every_shape_can_be_drawn(rng, tmp_path, shape, wrong):
    inputs = {"x": np.asarray(rng.normal(size=shape))}
    report = crosscheck(lambda x: {"x": wrong(x)}, lambda x: (x * x).sum(), inputs)
    report.plot(tmp_path / "wrong.png")
    assert (tmp_path / "wrong.png").read_bytes().startswith(b"\x89PNG")


def test_right_gradients_are_not_drawn(rng, tmp_path):
    report = crosscheck(lambda x: {"x": 2 * x}, lambda x: (x * x).sum(), {"x": rng.normal(size=3)})
    with pytest.raises(ValueError, match="every gradient is right"):
        report.plot(tmp_path / "right.png")


def test_a_row_of_images_for_each_wrong_gradient(monkeypatch):
    figures = []
    monkeypatch.setattr(drawing.Figure, "savefig", lambda figure, *place, **options: figures.append(figure))
    x, w = np.arange(1.0, 7).reshape(2, 3), np.array([[2.0]])
    report = crosscheck(
        lambda x, w: {"x": 3 * x, "w": (2 * w)[0]}, lambda x, w: x.square().sum() + w.square().sum(), {"x": x, "w": w}
    )
    report.plot("nowhere.png")
    (figure,) = figures
    first, second, third, fourth, fifth, last = figure.axes[:6]
    assert [axes.get_title() for axes in (first, second, third)] == [
        *("x: manual (2,3)", "autograd (2,3)", "manual / autograd"),
    ]
    assert [axes.get_title() for axes in (fourth, fifth, last)] == ["w: manual (1,)", "autograd (1,1)", ""]
    assert [axes.get_ylabel() for axes in figure.axes[:6]] == ["scale", "", "", "shape", "", ""]
    assert [text.get_text() for axes in figure.axes for text in axes.texts] == [
        "the shapes differ:\nno difference can be drawn"
    ]
    assert not last.axison
    assert len(figure.axes) == 6 + 5  # a scale of colours for each image
    assert figure.get_figheight() == 2 * 2.9
    np.testing.assert_array_equal(first.images[0].get_array(), 3 * x)
    assert third.images[0].get_clim() == (0, 1.5)
    assert all(tick == int(tick) for axis in (first.xaxis, first.yaxis) for tick in axis.get_majorticklocs())
    assert fourth.xaxis.get_majorticklocs().tolist() == [0]


def test_a_panel_is_a_png_that_fits_the_page():
    data = drawing.png(Panel("x", np.eye(3), -1.0, 1.0))
    assert data.startswith(b"\x89PNG")
    assert (int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")) == (396, 286)
