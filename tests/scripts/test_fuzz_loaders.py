import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="the script needs Linux's limit of memory and its clock"
)


def fuzz(*arguments, planted=""):
    """Run the script in a process of its own, after the lines of `planted`."""
    code = f"import sys, fuzz_loaders\n{planted}\nsys.exit(fuzz_loaders.main())"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "scripts" / "drills")])}
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)


def test_mutated_files_load_rightly_or_are_refused():
    result = fuzz("--count", "390", "--seed", "1")
    assert result.returncode == 0, result.stdout + result.stderr
    assert "390 cases, 0 failures" in result.stdout


@pytest.mark.slow
def test_twenty_thousand_mutated_files_load_rightly_or_are_refused():
    result = fuzz("--count", "20000")
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.slow  # the drill's own test
@pytest.mark.parametrize(
    ("planted", "message"),
    [
        # a parser's own exception escapes
        (
            "import contextlib; import manual_backprop.data.npz as m; m.parsing = lambda *_: contextlib.nullcontext()",
            "BadZipFile",
        ),
        # a message of two lines
        ("import manual_backprop.data.reading as m; m.printable = lambda text: f'{text}\\n'", "not one printable line"),
        # the message forgets the file
        ("import manual_backprop.data.reading as m; m.printable = lambda text: 'x'", "does not name the source"),
        # checksums are not compared
        ("import zipfile; zipfile.ZipExtFile._update_crc = lambda *_: None", "loaded, but not as it was"),
        # memory is claimed for what is not there
        (
            "import manual_backprop.data.idx as m; import numpy as np; m.unpacked_limit = lambda _: np.empty(2**31)",
            "1,073,741,824",
        ),
        # a hang
        (
            "fuzz_loaders.SECONDS = 0.001; import time; fuzz_loaders.load_dataset = lambda *_, **__: time.sleep(9)",
            "TookTooLong",
        ),
    ],
)
def test_a_planted_fault_is_found(planted, message):
    result = fuzz("--count", "390", planted=planted)
    assert result.returncode == 1, result.stdout + result.stderr
    assert message in result.stdout
