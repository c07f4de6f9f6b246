"""A user's own file: what its `manual` does to its process must not look like a match."""

import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
from torch_reference import Report
from torch_reference.grading.command import main

RIGHT = """
import numpy as np
import torch

tensor = torch.ones(3, dtype=torch.float64)
drawn = np.random.default_rng().normal(size=3)

def inputs(rng):
    return {"x": rng.normal(size=3), "scale": 1.5}

def manual(x, scale):
    return {"x": 2 * scale * x + drawn}

def reference(x, scale):
    return (scale * x * x + torch.from_numpy(drawn) * x).sum()
"""


@pytest.fixture
def check(tmp_path, capfd):
    def run(text, *options):
        path = tmp_path / "own.py"
        path.write_text(text, encoding="utf-8")
        return main([str(path), *options]), *capfd.readouterr()

    return run


def inside(line):
    return RIGHT.replace('    return {"x": 2', f'    {line}\n    return {{"x": 2')


def test_the_process_sees_what_the_file_has_made(check):
    status, out, _ = check(RIGHT)
    assert status == 0
    assert "1 of 1 gradients agree" in out


def test_printing_goes_to_standard_error(check):
    status, out, err = check(inside("print('hello')"))
    assert (status, "hello" in err, "hello" in out) == (0, True, False)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("import sys; sys.exit(0)", "own.py, line 12, in manual: SystemExit: 0"),
        ("import os; os._exit(0)", "own.py: its process ended with status 0 before it answered"),
        ("import os; os.kill(os.getpid(), 9)", "own.py: its process was ended by signal 9"),
        ("while True: pass", "own.py: no answer within 1 s"),
        ("import torch", "own.py, line 12, in manual: ImportError: manual uses PyTorch"),
        ("from torch.nn import functional", "own.py, line 12, in manual: ImportError: manual uses PyTorch"),
        ("x = torch.tensor(x, requires_grad=True)", "manual uses PyTorch"),
        ("x = (tensor * 2).numpy()", "manual uses PyTorch"),
        ("raise ValueError('not yet')", "own.py, line 12, in manual: ValueError: not yet"),
    ],
)
def test_a_manual_that_ends_hangs_or_asks_torch_never_passes(check, line, message):
    status, out, err = check(inside(line), "--timeout", "1")
    assert (status, out) == (2, "")
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1


def test_what_the_file_itself_wants_has_to_be_there(check):
    text = RIGHT.replace('{"x": rng.normal(size=3), "scale": 1.5}', '{"x": rng.normal(size=3), "scale": np.ones(3)}')
    assert check(text + "\nWANTED = ['x']")[0] == 0
    status, _, err = check(text + "\nWANTED = ['x', 'scale']")
    assert status == 2
    assert err.endswith("own.py: WANTED names scale, for which manual returns no gradient\n")


def test_patches_stay_in_the_copy(check):
    patch = "import torch_reference.checker as c; c.Report.ok = True; x = 2 * x"
    assert check(inside(patch).replace("    import", "    import sys; import"))[0] in {1, 2}
    assert isinstance(Report.ok, property)
    assert "torch" in sys.modules


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("import torch\n", "import torch, os\nos._exit(0)\n"),
        ("def inputs(rng):\n", "def inputs(rng):\n    import os; os._exit(0)\n"),
        ("def reference(x, scale):\n", "def reference(x, scale):\n    import os; os._exit(0)\n"),
        ("def reference(x, scale):\n", "def reference(x, scale):\n    raise SystemExit(0)\n"),
    ],
)
def test_leaving_elsewhere_in_the_file_is_no_match_either(check, tmp_path, old, new):
    assert old in RIGHT
    status, _, err = check(RIGHT.replace(old, new))
    assert status == 2
    assert err.startswith(f"error: {Path(tmp_path / 'own.py')}")
