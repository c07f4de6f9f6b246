"""A folder with right, wrong and hostile files, all in one run of the command."""

import json
import os

import pytest

pytest.importorskip("torch")
import submissions
from browser import chromium

from torch_reference.grading.command import main

SECONDS = 3
HOSTILE = dict([*submissions.HOSTILE.items()][3::4])  # many of them take all their time: the others are slow
GROUPS = {
    "right": submissions.RIGHT,
    "mistake": {name: text for name, (text, _) in submissions.MISTAKES.items()},
    "failure": {name: text for name, (text, _) in submissions.FAILURES.items()},
    "hostile": HOSTILE,
}
OTHERS = {"hostile": {name: text for name, text in submissions.HOSTILE.items() if name not in HOSTILE}}


def grade(folder, groups):
    """Grade groups of files; return the status, the report, the folder after the run, and its files before."""
    (folder / "reference.py").write_text(submissions.REFERENCE, encoding="utf-8")
    for group, files in groups.items():
        for name, text in files.items():
            (folder / f"{group}_{name}.py").write_text(text.replace("FOLDER", str(folder)), encoding="utf-8")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    output = folder.parent / "report.json"
    written = ["--json", str(output), "--html", str(output.with_suffix(".html")), "--timeout", str(SECONDS)]
    status = main([str(folder), "--reference", str(folder / "reference.py"), *written])
    return status, json.loads(output.read_text(encoding="utf-8")), folder, before


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    return grade(tmp_path_factory.mktemp("submissions"), GROUPS)


def test_every_file_gets_a_line(graded):
    status, report, _, before = graded
    assert status == 1
    assert not report["ok"]
    assert sorted(report["files"]) == sorted(before.keys() - {"reference.py"})
    assert (report["right"], report["total"]) == (len(submissions.RIGHT), len(before) - 1)
    assert report["wanted"] == ["weight", "bias"]


@pytest.mark.parametrize("name", submissions.RIGHT)
def test_a_right_file_passes(graded, name):
    found = graded[1]["files"][f"right_{name}.py"]
    assert (found["ok"], found["result"]) == (True, "right"), found
    assert {key: value["code"] for key, value in found["gradients"].items()} == {"weight": "match", "bias": "match"}


@pytest.mark.parametrize("name", submissions.MISTAKES)
def test_a_mistake_is_named(graded, name):
    found = graded[1]["files"][f"mistake_{name}.py"]
    assert (found["ok"], found["result"]) == (False, "wrong"), found
    assert {value["code"] for value in found["gradients"].values()} & set(submissions.MISTAKES[name][1].split())


@pytest.mark.parametrize("name", submissions.FAILURES)
def test_a_failure_says_why(graded, name):
    found = graded[1]["files"][f"failure_{name}.py"]
    assert (found["ok"], found["result"]) == (False, "failed"), found
    assert submissions.FAILURES[name][1] in found["message"]


def assert_refused(found):
    assert not found["ok"], found
    assert found["result"] in {"wrong", "failed"}, found
    assert found["message"].isprintable()
    assert len(found["message"]) < 1000
    assert found["seconds"] < 5 * SECONDS


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_never_passes(graded, name):
    assert_refused(graded[1]["files"][f"hostile_{name}.py"])


def assert_unchanged(folder, before):
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_no_file_changes_another(graded):
    assert_unchanged(*graded[2:])


@pytest.mark.slow
def test_nor_does_any_other_hostile_file(tmp_path):
    (tmp_path / "submissions").mkdir()
    status, report, *folder = grade(tmp_path / "submissions", OTHERS)
    assert (status, report["total"]) == (1, len(submissions.HOSTILE) - len(HOSTILE))
    for found in report["files"].values():
        assert_refused(found)
    assert_unchanged(*folder)


def test_the_page_opens_in_a_browser(graded):
    page = graded[2].parent / "report.html"
    text = page.read_text(encoding="utf-8")
    assert "<script>" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert "It is not a sandbox" in text
    with chromium(width=360) as browser:
        browser.get(page.as_uri())
        assert browser.get_log("browser") == []
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 360
        assert len(browser.find_elements("css selector", "tbody tr > th")) >= len(graded[1]["files"])
        details = browser.find_elements("tag name", "details")
        assert len(details) == sum(found["result"] != "failed" for found in graded[1]["files"].values())
        browser.find_element("tag name", "summary").click()
        assert details[0].get_attribute("open")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "reference.py").write_text(submissions.REFERENCE, encoding="utf-8")
    (tmp_path / "files").mkdir()
    return tmp_path / "files"


def run(folder, *options):
    return main([str(folder), "--reference", str(folder.parent / "reference.py"), *options])


def test_all_right_is_status_0(folder, capsys):
    (folder / "one.py").write_text(submissions.SOLUTION, encoding="utf-8")
    assert run(folder, "--seed", "3") == 0
    assert "1 of 1 files are right (seed 3: weight, bias)" in capsys.readouterr().out


def test_the_inputs_are_drawn_anew_unless_a_seed_is_given(folder, capsys):
    (folder / "one.py").write_text(submissions.SOLUTION, encoding="utf-8")
    lines = [(run(folder), capsys.readouterr().out.splitlines()[-1])[1] for _ in range(2)]
    assert lines[0] != lines[1]


def test_what_is_no_file_gets_a_line_too(folder, capsys):
    (folder / "folder.py").mkdir()
    (folder / "large.py").write_bytes(b"#" * (1 << 21))
    (folder / "gone.py").symlink_to("nowhere")
    os.mkfifo(folder / "pipe.py")
    (folder / "a\nb.py").write_text("", encoding="utf-8")
    assert run(folder) == 1
    out = capsys.readouterr().out
    assert out.count("not a file") == 3
    assert "larger than 1,048,576 bytes" in out
    assert "a\\nb.py" in out


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('["weight", "bias"]', '["weights"]', "WANTED has weights; the floating inputs are x, weight, bias, decay"),
        ('["weight", "bias"]', "[]", "WANTED has no name"),
        ("def reference", "def other", "no function reference"),
        ("cross_entropy(x", "cross_entropy(y", "line 18, in reference: NameError"),
        ("    return torch", "    return float('nan') * torch", "has no finite gradient for weight"),
        ("import torch\n", "import os; os._exit(0)\n", "SystemExit"),
        ("    return {", "    raise SystemExit(0)\n    return {", "SystemExit"),
    ],
)
def test_a_broken_reference_is_status_2(folder, capsys, old, new, message):
    (folder / "one.py").write_text(submissions.SOLUTION, encoding="utf-8")
    assert old in submissions.REFERENCE
    (folder.parent / "reference.py").write_text(submissions.REFERENCE.replace(old, new), encoding="utf-8")
    assert run(folder) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"error: {folder.parent / 'reference.py'}")
    assert message in err
    assert err.count("\n") == 1


def test_a_folder_without_files_and_bad_options(folder, capsys):
    assert run(folder) == 2
    assert "no .py file to check" in capsys.readouterr().err
    assert main([str(folder)]) == 2
    assert "a folder needs --reference FILE" in capsys.readouterr().err
    (folder / "one.py").write_text(submissions.SOLUTION, encoding="utf-8")
    for options, message in [
        (["--timeout", "0"], "--timeout: expected seconds above 0, got 0"),
        (["--timeout", "nan"], "--timeout: expected"),
        (["--json", "own.py"], "--json own.py: that is a program"),
        (["--json", str(folder / "no" / "such.json")], "No such file or directory"),
        (["--plot", "picture.png"], "--plot: draws the gradients of one file"),
    ]:
        assert run(folder, *options) == 2
        assert message in capsys.readouterr().err
    assert main([str(folder / "one.py"), "--reference", "reference.py"]) == 2
    assert "--reference: needs a folder" in capsys.readouterr().err
