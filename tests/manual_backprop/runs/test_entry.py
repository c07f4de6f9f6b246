"""The command that comes with the package finds its subcommands by the entry points that are installed."""

import sys
import tomllib
from collections.abc import Callable
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import NamedTuple

import pytest

from manual_backprop.runs import entry


class Point(NamedTuple):
    """What `run` needs of an entry point."""

    name: str
    load: Callable[[], Callable[[], int]]


def missing():
    raise ModuleNotFoundError("No module named 'torch'", name="torch")


@pytest.fixture
def run(monkeypatch, capsys):
    seen = []
    points = [Point("train", lambda: lambda: seen.append(sys.argv) or 7), Point("check", missing)]
    monkeypatch.setattr(entry, "entry_points", lambda group: points if group == "manual_backprop.commands" else [])

    def main(*arguments):
        monkeypatch.setattr(sys, "argv", ["/usr/bin/manual-backprop", *arguments])
        return entry.main(), *capsys.readouterr()

    main.seen = seen
    return main


def test_a_subcommand_gets_the_rest_and_its_status_counts(run):
    assert run("train", "--epochs", "3")[0] == 7
    assert run.seen[-1] == ["manual-backprop train", "--epochs", "3"]


def test_help_names_the_subcommands(run):
    status, out, _ = run("--help")
    assert status == 0
    assert "manual-backprop {check,train}" in out
    assert run()[0] == 2


def test_an_unknown_name_is_one_line(run):
    assert run("trian") == (2, "", "error: 'trian': expected one of check, train\n")


def test_a_missing_extra_is_one_line(run):
    assert run("check") == (2, "", "error: check needs PyTorch: pip install 'manual-backprop[torch]'\n")


def test_every_registered_function_exists():
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    registered = project["entry-points"][entry.GROUP] | project["scripts"]
    assert set(registered) == {"check", "train", "manual-backprop"}
    for name, value in registered.items():
        if value.startswith("torch_reference"):
            pytest.importorskip("torch")
        assert callable(EntryPoint(name, value, entry.GROUP).load())
