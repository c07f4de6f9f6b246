"""Triton kernels in the interpreter: right ones pass as they are, wrong ones are named, in bfloat16 too."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("triton", reason="needs Triton: pip install '.[triton]'")
KERNELS = Path(__file__).parents[3] / "helpers" / "triton_kernels.py"
EXPECTED = {
    "softmax": {"right": "match match", "not masked": "derivative derivative", "no sum": "match derivative"},
    "product": {"right": "match match match", "whole blocks": "path upstream upstream",
                "strides": "layout layout layout"},
    "loss": {"right": "match match", "upstream": "match upstream", "in place": "side-effect side-effect",
             "mean": "match scale"},
}  # fmt: skip


@pytest.mark.parametrize(
    "family", ["loss", *(pytest.param(name, marks=pytest.mark.slow) for name in ("softmax", "product"))]
)
def test_kernels_in_the_interpreter(family):
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    done = subprocess.run(
        [sys.executable, str(KERNELS), family], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    expected = [f"{fault}, {dtype}: {codes}" for fault, codes in EXPECTED[family].items()
                for dtype in ("float32", "bfloat16")]  # fmt: skip
    # a gradient that is stored, and multiplied by its upstream gradient later, is rounded twice in bfloat16
    found = done.stdout.replace("rounded", "match").splitlines()
    assert found == expected
