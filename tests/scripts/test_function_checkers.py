"""The checks of functions that ours is compared with are applied as their users do."""

import pytest

pytest.importorskip("torch")
from benchmarks import function_checkers as compare
from kernels import losses, pointwise
from training_runs import script_module


def case(family, title):
    return next(each for each in family.FAULTS + family.RIGHT if each.title == title)


@pytest.mark.parametrize("title", compare.CHECKS)
def test_every_check_accepts_a_right_function(title):
    assert compare.accepted(compare.CHECKS[title], case(pointwise, "SwiGLU"))
    assert compare.accepted(compare.CHECKS[title], case(losses, "row losses with smoothing"))


def test_gradcheck_and_assert_close_find_a_wrong_slope_and_miss_a_layout():
    slope = case(pointwise, "SwiGLU's slope is the sigmoid's alone")
    layout = case(pointwise, "SwiGLU reads the upstream gradient as contiguous")
    for check in (compare.gradcheck, compare.assert_close):
        assert not compare.accepted(check, slope)
        assert compare.accepted(check, layout)
    assert not compare.accepted(compare.ours, layout)


def test_the_table_has_a_row_for_each_check(monkeypatch, capsys):
    class Family:
        FAULTS, RIGHT = pointwise.FAULTS[:1], pointwise.RIGHT[:1]

    monkeypatch.setattr(compare, "FAMILIES", (Family,))
    assert script_module("compare_checkers").main(["--functions"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines[1:]] == list(compare.CHECKS)
    assert lines[-1].split()[1:] == ["1", "0", "1"]
