import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch_reference import crosscheck  # noqa: E402 (needs torch)
from torch_reference.checker.report.gradient import Entry, GradientReport, plain  # noqa: E402
from torch_reference.checker.report.results import Report  # noqa: E402


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


def verdict(name="x", code="match", shape=(2, 3), **more):
    return GradientReport(name, code, "Some words.", np.ones(shape), np.ones((2, 3)), **more)


def report_of(*verdicts, note=""):
    return Report({each.name: each for each in verdicts}, note)


WRONG = verdict("w", "mismatch", wrong=4, error=1234.5, worst=Entry((1, 2), 1 / 3, np.pi, 1e-9))
TABLE = """\
gradient                        shape  code      error / allowed  wrong entries
-------------------------------------------------------------------------------
abcdefghijklmnopqrstuvwxyz0123  (2,3)  match     0.25             none
abcdefghijklmnopqrstuvwxyz0...  (4,)   shape     -                -
w                               (2,3)  mismatch  1.2e+03          4 of 6
2 of 3 gradients agree with autograd"""


def test_the_table_of_gradients():
    letters = "abcdefghijklmnopqrstuvwxyz01234"
    rows = [verdict(letters[:30], error=0.25), verdict(letters, "shape", (4,), error=np.inf), WRONG]
    lines = str(report_of(*rows)).splitlines()
    expected = TABLE.replace("2 of 3", "1 of 3").splitlines()
    assert lines[:6] == expected
    assert lines[6:] == [
        "",
        f"{letters}: shape. Some words.",
        "",
        "w: mismatch. Some words.",
        "    worst entry [1, 2]: manual 0.3333333333, autograd 3.141592654, difference 2.81e+00, allowed",
        "    1.00e-09",
    ]


@pytest.mark.parametrize(("letters", "cut"), [(14, False), (15, True)])
def test_a_line_of_more_than_a_hundred_columns_is_cut(letters, cut):
    ones = np.ones((10,) + (1,) * 25)
    line = str(report_of(GradientReport("x" * letters, "match", "", ones, ones))).splitlines()[2]
    whole = f"{'x' * letters}  (10{',1' * 25})  match  0                none"
    assert len(line) == 100
    assert line == (whole[:97] + "..." if cut else whole)


def test_rounded_and_kinks_have_details_and_matches_have_none():
    assert str(report_of(verdict())).splitlines()[-1] == "1 of 1 gradients agree with autograd"
    assert str(report_of(verdict(code="kink"))).splitlines()[-2:] == ["", "x: kink. Some words."]


def test_a_gradient_of_zeros_proves_nothing():
    zeros = [GradientReport(name, code, "", np.zeros(2), np.zeros(2)) for name, code in (("x", "match"), ("y", "sign"))]
    text = str(report_of(*zeros, verdict("z"), note="A note."))
    assert text.endswith(
        "\n\nx: autograd's gradient is zero everywhere, so that the check proves nothing: try other inputs.\n\nA note."
    )


@pytest.mark.parametrize(
    ("code", "strict", "ok"),
    [
        ("match", True, True),
        ("kink", True, True),
        ("rounded", False, True),
        ("rounded", True, False),
        ("sign", False, False),
    ],
)
def test_which_codes_are_right(code, strict, ok):
    assert verdict(code=code, strict=strict).ok is ok
    assert report_of(verdict("y"), verdict(code=code, strict=strict)).ok is ok


def test_a_gradient_proves_something_where_any_entry_is_not_zero():
    def vacuous(reference):
        return GradientReport("x", "match", "", reference, reference).vacuous

    assert [vacuous(np.array(each)) for each in ([0.0, 1.0], [0.0, 0.0], [0.0], [])] == [False, True, True, False]


def test_plain_data():
    assert verdict().strict is False
    data = report_of(WRONG, note="A note.").to_dict()
    assert (data["ok"], data["note"]) == (False, "A note.")
    assert data["gradients"]["w"] == {
        "ok": False,
        "vacuous": False,
        "code": "mismatch",
        "message": "Some words.",
        "shape": [2, 3],
        "dtype": "float64",
        "entries": 6,
        "wrong": 4,
        "error": 1234.5,
        "worst": {"index": [1, 2], "manual": 1 / 3, "reference": np.pi, "allowed": 1e-9},
    }
    nothing = verdict().to_dict()
    assert (nothing["worst"], nothing["wrong"], nothing["error"]) == (None, 0, 0.0)
    assert [plain(each) for each in (1.5, np.inf, -np.inf, np.nan)] == [1.5, "inf", "-inf", "nan"]
