"""The command that checks this project's network, or a user's file."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("torch")
from training_runs import script_module

ROOT = Path(__file__).parents[2]
GOOD = """
import numpy as np
def inputs(rng):
    return {"x": rng.normal(size=3), "n": np.arange(3)}
def manual(x, n):
    return {"x": 2 * x}
def reference(x, n):
    return (x * x).sum()
"""


@pytest.fixture
def command(capfd):
    crosscheck = script_module("crosscheck")

    def run(*arguments):
        status = crosscheck.main([str(argument) for argument in arguments])
        return status, *capfd.readouterr()

    return run


@pytest.fixture
def write(tmp_path):
    def file(text):
        path = tmp_path / "own.py"
        path.write_text(text, encoding="utf-8")
        return path

    return file


def test_the_project_s_own_network_matches(command):
    status, out, err = command()
    assert (status, err) == (0, "")
    assert out.endswith("24 of 24 gradients agree with autograd\n")


def test_a_right_file_has_status_0_and_a_wrong_one_status_1(command, write):
    assert command(write(GOOD))[0] == 0
    status, out, _ = command(write(GOOD.replace("2 * x", "x")))
    assert status == 1
    assert "manual = 0.5 * right gradient" in out


def test_the_example_of_the_documents_is_wrong_as_it_says(command):
    status, out, _ = command(ROOT / "docs" / "examples" / "softmax_regression.py")
    assert status == 1
    assert "32 is axis 0 of x: the mean over the batch is missing" in out


def test_json_is_json_even_where_the_file_prints(command, write):
    noisy = GOOD.replace('    return {"x": 2 * x}', '    print("hello")\n    return {"x": np.full(3, np.nan)}')
    status, out, err = command(write(noisy), "--json")
    report = json.loads(out)
    assert (status, report["ok"], report["gradients"]["x"]["code"]) == (1, False, "nonfinite")
    assert report["gradients"]["x"]["worst"]["manual"] == "nan"
    assert "hello" in err


def test_the_seed_chooses_the_inputs(command, write):
    shown = GOOD.replace('    return {"x": 2 * x}', '    return {"x": x}')
    outs = [command(write(shown), "--seed", seed)[1] for seed in (0, 1, 0)]
    assert outs[0] == outs[2] != outs[1]


@pytest.mark.parametrize("name", ["wrong.png", "wrong.svg"])
def test_the_plot_is_drawn_only_where_something_is_wrong(command, write, tmp_path, name):
    plot = tmp_path / name
    assert command(write(GOOD), "--plot", plot)[0] == 0
    assert not plot.exists()
    assert command(write(GOOD.replace("2 * x", "x")), "--plot", plot)[0] == 1
    assert plot.stat().st_size > 1000
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["own.py", name])


@pytest.mark.parametrize("name", ["wrong.nosuchformat", "no/such/folder/wrong.png"])
def test_a_plot_that_cannot_be_written_is_one_line(command, write, tmp_path, name):
    status, _, err = command(write(GOOD.replace("2 * x", "x")), "--plot", tmp_path / name)
    assert status == 2
    assert err.startswith(f"error: --plot {tmp_path / name}: ")
    assert err.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["own.py"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("def manual", "def manuel", "no function manual"),
        ("def inputs(rng):", "def inputs(rng) return", "line 3: expected ':'"),
        ("import numpy", "import no_such_module_as_this", "line 2, in <module>: ModuleNotFoundError: No module named"),
        ("import numpy as np", "raise SystemExit(3)", "line 2, in <module>: SystemExit: 3"),
        ("2 * x", "x / 'a'", "line 6, in manual"),
        ("(x * x).sum()", "x.no_such_method()", "line 8, in reference: AttributeError"),
        ("rng.normal(size=3)", "rng.normal(size='a')", "line 4, in inputs: TypeError"),
        ('return {"x": rng.normal(size=3), "n": np.arange(3)}', "return 3", "inputs must return a dict"),
        ("rng.normal(size=3)", "[1.0, 2.0, 3.0]", "input 'x'"),
        ('{"x": 2 * x}', '{"y": 2 * x}', "'y', which is not an input"),
        ('{"x": 2 * x}', "{}", "empty dict"),
        ("(x * x).sum()", "x * x", "scalar"),
        ("(x * x).sum()", "1.0", "must return a scalar tensor, but it returned float"),
        ("def manual(x, n)", "def manual(x)", "unexpected keyword argument 'n'"),
    ],
)
def test_a_mistake_in_the_file_is_one_line_and_status_2(command, write, old, new, message):
    assert old in GOOD
    path = write(GOOD.replace(old, new))
    status, out, err = command(path)
    assert (status, out) == (2, "")
    assert err.startswith(f"error: {path}")
    assert message in err
    assert err.count("\n") == 1


def test_a_file_that_is_not_there(command, tmp_path):
    assert command(tmp_path / "none.py") == (2, "", f"error: {tmp_path / 'none.py'}: No such file or directory\n")
    assert command(tmp_path)[0] == 2


def test_a_negative_seed(command):
    assert command("--seed", "-1") == (2, "", "error: --seed: expected a number from 0, got -1\n")


def test_without_torch_it_says_what_to_install():
    code = "import sys; sys.modules['torch'] = None; import crosscheck; sys.exit(crosscheck.main([]))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT / "scripts",
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'scripts'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: the check needs this project and PyTorch installed")
