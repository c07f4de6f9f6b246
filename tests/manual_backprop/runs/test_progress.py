import os
import pty
import subprocess
import termios

import pytest
from training_runs import ENVIRONMENT, command, history_rows, write_tiny

from manual_backprop.runs import progress


@pytest.fixture
def arguments(tmp_path):
    data = write_tiny(tmp_path / "tiny.npz")
    return command("numpy", "--data", data, "--hidden", 8, "--epochs", 30, "--out", tmp_path / "out")


def test_a_reader_that_goes_away_does_not_end_training(arguments, tmp_path):
    pipe = subprocess.PIPE
    with subprocess.Popen(arguments, env=ENVIRONMENT, stdout=pipe, stderr=pipe, text=True) as process:
        process.stdout.close()  # as `| head -0`
        assert process.stderr.read() == ""
    assert process.returncode == 0
    assert len(history_rows(tmp_path / "out")) == 30


def test_output_to_a_full_disk_does_not_end_training(arguments, tmp_path):
    if not os.path.exists("/dev/full"):
        pytest.skip("needs Linux's /dev/full")
    with open("/dev/full", "w") as full:
        done = subprocess.run(arguments, env=ENVIRONMENT, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert len(history_rows(tmp_path / "out")) == 30


@pytest.mark.parametrize(
    "closed", [*(pytest.param(one, marks=pytest.mark.slow) for one in (">&-", "2>&-")), ">&- 2>&-"]
)
def test_closed_outputs_do_not_end_training(arguments, tmp_path, closed):
    done = subprocess.run(["sh", "-c", f'exec "$@" {closed}', "sh", *arguments], env=ENVIRONMENT, check=False)
    assert done.returncode == 0
    assert len(history_rows(tmp_path / "out")) == 30


def test_a_terminal_gets_a_bar(arguments):
    controller, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 100))
    done = subprocess.run(arguments, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=terminal, text=True, check=False)
    os.close(terminal)
    shown = os.read(controller, 100_000).decode()
    os.close(controller)
    assert done.returncode == 0
    assert "30/30" in shown
    assert "loss" in shown
    assert "epoch 1/30" not in done.stdout


def test_the_table_names_each_set():
    lines = progress.table({"train": (0.25, 0.9), "valid": (float("nan"), float("nan")), "test": (1.0, 0.5)})
    assert lines.splitlines()[1:] == [
        "train           0.9000    0.2500",
        "validation         nan       nan",
        "test            0.5000    1.0000",
    ]


def test_a_long_run_prints_ten_lines_or_so(capsys):
    from manual_backprop.history import History, Metrics

    history = History()
    with progress.progress(200, 0, quiet=False) as show:
        for epoch in range(200):
            history.append(Metrics(1, 0.5, 1, 0.5), epoch + 1.0)
            show(history)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == [f"epoch {n}/200" for n in (1, *range(20, 201, 20))]
