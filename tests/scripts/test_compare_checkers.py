"""The checks that ours is compared with are applied as their users do."""

import numpy as np
import pytest

pytest.importorskip("torch")
import checked_layers as layers
import faults
from training_runs import script_module

compare = script_module("compare_checkers")


@pytest.mark.parametrize("title", compare.CHECKS)
def test_every_check_accepts_a_right_gradient_and_rejects_a_doubled_one(title):
    layer = layers.SquaredError()
    inputs = layer.inputs(np.random.default_rng(0), np.float64)
    assert compare.CHECKS[title](layer, inputs)
    doubled = next(
        fault for fault in faults.FAULTS if fault.layer is layers.LayerNorm and fault.code == "scale"
    ).build()
    assert not compare.CHECKS[title](doubled, doubled.inputs(np.random.default_rng(0), np.float64))


def test_gradcheck_cannot_see_a_forgotten_sum():
    fault = next(fault for fault in faults.FAULTS if fault.title == "batch sum forgotten").build()
    inputs = fault.inputs(np.random.default_rng(0), np.float64)
    assert compare.gradcheck(fault, inputs)
    assert not compare.ours(fault, inputs)


def test_one_entry_is_off_by_what_it_says():
    layer = compare.OneEntry(1e-3, 0)
    inputs = layer.inputs(np.random.default_rng(0), np.float64)
    right = layers.Dense.manual(layer, **inputs)
    off = [np.argwhere(value != right[name]) for name, value in layer.manual(**inputs).items()]
    assert sum(len(entries) for entries in off) == 1


@pytest.mark.parametrize(
    ("least", "answer"), [(3e-7, "1e-06"), (3e-2, "1e-01"), (1e-14, "1e-14"), (1.0, "none"), (3e-13, "1e-12")]
)
def test_the_smallest_error_that_is_found_is_looked_for_by_halves(least, answer):
    with compare.tqdm(disable=True) as bar:
        assert compare.smallest_found(lambda layer, _: layer.relative < least, np.float32, 2, bar) == answer


def test_the_table_has_a_row_for_each_check(monkeypatch, capsys):
    monkeypatch.setattr(compare.faults, "FAULTS", faults.FAULTS[:2])
    monkeypatch.setattr(compare.faults, "RIGHT", faults.RIGHT[:1])
    monkeypatch.setattr(compare.wrong_derivations, "MISTAKES", compare.wrong_derivations.MISTAKES[:2])
    assert compare.main(["--seeds", "1", "--trials", "0"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines[1:-1]] == list(compare.CHECKS)
    assert "100.0%" in lines[-2]
