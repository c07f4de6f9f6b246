import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch_reference import crosscheck  # noqa: E402 (needs torch)


@pytest.fixture
def report(rng):
    inputs = {"x": rng.normal(size=(6, 4)), "a_very_long_name_of_an_input_that_fits_no_column": rng.normal(size=4)}

    def manual(**inputs):
        x, long = inputs.values()
        return {"x": 2 * x, "a_very_long_name_of_an_input_that_fits_no_column": np.full_like(long, np.nan)}

    def reference(**tensors):
        return sum((value**2).sum() for value in tensors.values())

    return crosscheck(manual, reference, inputs)


def test_the_table_fits_a_hundred_columns(report):
    lines = str(report).splitlines()
    assert max(map(len, lines)) <= 100
    assert "1 of 2 gradients agree with autograd" in lines


def test_the_plain_data_is_strict_json(report):
    data = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert data["ok"] is False
    assert data["gradients"]["x"]["code"] == "match"
    assert data["gradients"]["a_very_long_name_of_an_input_that_fits_no_column"]["code"] == "nonfinite"


def test_the_picture_shows_what_is_wrong(report, tmp_path):
    report.plot(tmp_path / "gradients.png")
    assert (tmp_path / "gradients.png").read_bytes().startswith(b"\x89PNG")


def test_there_is_no_picture_of_right_gradients(tmp_path):
    right = crosscheck(lambda x: {"x": 2 * x}, lambda x: (x * x).sum(), {"x": np.ones(3)})
    with pytest.raises(ValueError, match="nothing to draw"):
        right.plot(tmp_path / "gradients.png")
