"""Neither package knows the other, and the NumPy side never loads torch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FORBIDDEN = {
    "manual_backprop": {"torch", "torch_reference", "tests", "scripts"},
    "torch_reference": {"manual_backprop", "tests", "scripts"},
}


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


def test_the_numpy_side_leaves_torch_unloaded():
    code = (
        "import importlib.util, pkgutil, sys, manual_backprop\n"
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
