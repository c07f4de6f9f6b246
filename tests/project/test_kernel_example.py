"""The Triton example passes its own check on the CPU, and the page of kernel authors quotes what the check says."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_the_triton_kernels_match_in_the_interpreter():
    pytest.importorskip("torch")
    pytest.importorskip("triton", reason="needs Triton: pip install '.[triton]'")
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "examples" / "triton_layer_norm.py")],
        env=os.environ | {"TRITON_INTERPRET": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"LayerNorm in torch.{name} matches" for name in ("float32", "bfloat16")]


def test_the_readme_shows_what_the_check_says():
    pytest.importorskip("torch")
    section = (ROOT / "README.md").read_text(encoding="utf-8").split("## Check a kernel")[1]
    code, printed = section.split("```python\n")[1].split("```")[0], section.split("```text\n")[1].split("```")[0]
    done = subprocess.run(
        [sys.executable, "-c", f"import torch\n{code}"], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert printed in done.stdout
