"""Neither package knows the other, the NumPy side never loads torch, and inside a package arrows go down only."""

import ast
import importlib
import re
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FORBIDDEN = {
    "manual_backprop": {"torch", "torch_reference", "tests", "scripts"},
    "torch_reference": {"manual_backprop", "tests", "scripts"},
}

EVERY_ROOM = "every room"
ROOMS = {
    "manual_backprop": {
        "arrays": set(),
        "layers": set(),
        "storage": set(),
        "optimizers": set(),
        "scores": set(),
        "curves": set(),
        "early_stopping": set(),
        "networks": {"layers", "storage"},
        "data": {"storage"},
        "history": {"storage", "curves"},
        "fast": {"networks", "optimizers", "data", "scores"},
        "engines": {"layers", "networks", "optimizers", "data", "scores"},
        "training": {"fast", "engines", "networks", "optimizers", "data", "scores", "history", "early_stopping"},
        "sklearn": EVERY_ROOM,
        "runs": EVERY_ROOM,
        "__main__": set(),
    },
    "torch_reference": {
        "networks": set(),
        "optimizer": set(),
        "sharding": set(),
        "graphs": set(),
        "gpt_training": {"sharding"},
        "memory": set(),
        "training": {"sharding", "graphs"},
        "checker": set(),
        "grading": {"checker"},
    },
}
"""What each room, a folder or a file, may import of its package; all of them may import `arrays`."""

MOST_LINES, MOST_FILES = 250, 12


def python_files(package):
    return sorted((ROOT / package).rglob("*.py"))


def imported_files(path, loading=False):
    """The files of its own package that a file imports, but for those that only its types need.

    With `loading` those that it imports when it is loaded: a result may show itself by a page that knows results.
    """
    package = path.relative_to(ROOT).parts[0]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    left_out = {
        inner
        for node in ast.walk(tree)
        if (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING")
        or (isinstance(node, ast.FunctionDef) and loading)
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node not in left_out and node.module.split(".")[0] == package:
            for alias in node.names:
                names = (f"{node.module}.{alias.name}", node.module)
                places = [ROOT.joinpath(*name.split(".")) for name in names]
                yield next(
                    file
                    for place in places
                    for file in (place.with_suffix(".py"), place / "__init__.py")
                    if file.is_file()
                )


def room_of(path):
    return path.relative_to(ROOT).with_suffix("").parts[1]


@pytest.mark.parametrize("package", ROOMS)
def test_a_room_imports_only_the_rooms_that_the_table_allows(package):
    rooms = ROOMS[package]
    found = {room_of(path) for path in python_files(package)} - {"__init__"}
    assert found == rooms.keys()
    for path in python_files(package):
        room = room_of(path)
        if room != "__init__" and rooms[room] != EVERY_ROOM:
            imported = {room_of(file) for file in imported_files(path)} - {room, "arrays"}
            assert imported <= rooms[room], path


@pytest.mark.parametrize("package", ROOMS)
def test_no_arrow_goes_up(package):
    for graph in (
        {room: below for room, below in ROOMS[package].items() if below != EVERY_ROOM},
        {path: set(imported_files(path, loading=True)) for path in python_files(package) if path.name != "__init__.py"},
    ):
        TopologicalSorter(graph).prepare()  # raises CycleError, which names the circle


@pytest.mark.parametrize("package", ROOMS)
def test_the_docstring_of_a_room_says_what_it_imports(package):
    for room, allowed in ROOMS[package].items():
        init = ROOT / package / room / "__init__.py"
        if init.is_file():
            docstring = " ".join(ast.get_docstring(ast.parse(init.read_text(encoding="utf-8"))).split())
            said = re.search(r"Imports (.*?)\.", docstring)
            assert said, f"{init}: does not say what it imports"
            if allowed == EVERY_ROOM or not allowed:
                assert said[1] in (EVERY_ROOM, "no other room", "`arrays` only"), init
            else:
                assert set(re.findall(r"`(\w+)`", said[1])) == allowed, init


@pytest.mark.parametrize("package", ROOMS)
def test_no_file_or_folder_bears_the_name_of_something_that_its_room_exports(package):
    for init in python_files(package):
        if init.name == "__init__.py":
            module = importlib.import_module(".".join(init.parent.relative_to(ROOT).parts))
            beside = {path.stem for path in init.parent.iterdir()}
            assert not beside & set(getattr(module, "__all__", ())), init


def test_files_are_short_and_rooms_are_small():
    for folder in ("manual_backprop", "torch_reference", "scripts"):
        rooms = {}
        for path in python_files(folder):
            rooms.setdefault(path.parent, []).append(path)
            lines = len(path.read_text(encoding="utf-8").splitlines())
            assert lines <= MOST_LINES, path
        for room, files in rooms.items():
            assert len(files) <= MOST_FILES, room


def imported_packages(source):
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module.split(".")[0]


@pytest.mark.parametrize("package", FORBIDDEN)
def test_no_file_imports_what_its_package_must_not_know(package):
    files = sorted((ROOT / package).rglob("*.py"))
    assert files
    for path in files:
        imported = set(imported_packages(path.read_text(encoding="utf-8")))
        assert not imported & FORBIDDEN[package], path


def test_the_numpy_side_loads_little_and_no_torch():
    code = (
        "import importlib.util, pkgutil, sys, manual_backprop\n"
        "if early := sys.modules.keys() & {'PIL', 'matplotlib', 'fontTools', 'sklearn', 'platformdirs', 'filelock'}:\n"
        "    sys.exit(f'manual_backprop loads {early}')\n"
        "for module in pkgutil.walk_packages(manual_backprop.__path__, 'manual_backprop.'):\n"
        "    if module.name != 'manual_backprop.sklearn' or importlib.util.find_spec('sklearn'):\n"
        "        importlib.import_module(module.name)\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_the_numpy_side_trains_where_torch_cannot_be_imported(tmp_path):
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import numpy as np; from manual_backprop import MLP, train, load_dataset\n"
        f"path = {str(tmp_path / 'tiny.npz')!r}\n"
        "np.savez(path, images=np.zeros((20, 2, 2), np.uint8), labels=np.arange(20) % 10)\n"
        "train(MLP.xavier([4, 3, 10]), load_dataset(path), epochs=1)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
