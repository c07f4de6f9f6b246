"""The picture of a report can be drawn for every shape, for NaN, and where shapes differ."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch_reference import crosscheck  # noqa: E402 (needs torch)


@pytest.mark.parametrize("shape", [(), (5,), (3, 4), (2, 3, 4), (2, 3, 4, 2)])
@pytest.mark.parametrize("wrong", [lambda x: 3 * x, lambda x: x * np.nan, lambda x: (2 * x)[None]])
def test_every_shape_can_be_drawn(rng, tmp_path, shape, wrong):
    inputs = {"x": np.asarray(rng.normal(size=shape))}
    report = crosscheck(lambda x: {"x": wrong(x)}, lambda x: (x * x).sum(), inputs)
    report.plot(tmp_path / "wrong.png")
    assert (tmp_path / "wrong.png").read_bytes().startswith(b"\x89PNG")


def test_right_gradients_are_not_drawn(rng, tmp_path):
    report = crosscheck(lambda x: {"x": 2 * x}, lambda x: (x * x).sum(), {"x": rng.normal(size=3)})
    with pytest.raises(ValueError, match="every gradient is right"):
        report.plot(tmp_path / "right.png")
