"""An installed wheel holds all of both packages, and trains without PyTorch."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
pytest.importorskip("setuptools")

ROOT = Path(__file__).parents[2]
PACKAGES = ("manual_backprop", "torch_reference")
EGG = "manual_backprop.egg-info"  # setuptools' own

IMPORT_ALL = """
import importlib, pathlib, pkgutil, sys
package = importlib.import_module(sys.argv[1])
assert pathlib.Path(package.__file__).is_relative_to(sys.argv[2]), package.__file__
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    importlib.import_module(module.name)
"""
TRAIN = """
import sys; sys.modules["torch"] = None
import numpy as np
from manual_backprop import MLP, load_dataset, train
np.savez("tiny.npz", images=np.arange(80, dtype=np.uint8).reshape(20, 2, 2), labels=np.arange(20) % 10)
history = train(MLP.xavier([4, 3, 10]), load_dataset("tiny.npz"), epochs=20)
assert history.train_loss[-1] < history.train_loss[0]
"""


def pip(*arguments):
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of what a distribution is built of: building leaves files in it."""
    source = tmp_path_factory.mktemp("source")
    for name in (*PACKAGES, "tests", "scripts", "docs"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    return source


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, source)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel, tmp_path_factory):
    """Run code where only the wheel and what it depends on can be imported."""
    folder = tmp_path_factory.mktemp("installed")
    pip("install", "--no-deps", "--target", folder / "site", wheel)

    def run(code, *arguments):
        command = [sys.executable, "-c", code, *map(str, arguments)]
        environment = os.environ | {"PYTHONPATH": str(folder / "site")}
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    run.site = folder / "site"
    return run


def test_a_wheel_holds_every_file_of_the_packages(wheel):
    held = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith(PACKAGES)}
    files = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {f"{package}/py.typed" for package in PACKAGES} <= files
    assert {name for name in held if ".dist-info" not in name} == files


def test_a_source_distribution_holds_the_packages_and_nothing_that_cannot_run(source, tmp_path):
    code = f"from setuptools.build_meta import build_sdist; build_sdist({str(tmp_path)!r})"
    subprocess.run([sys.executable, "-c", code], cwd=source, capture_output=True, check=True)
    (built,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(built) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    tops = {name.partition("/")[0] for name in held if name}
    assert tops <= {*PACKAGES, "LICENSE", "README.md", "PKG-INFO", "pyproject.toml", "setup.cfg", EGG}, tops
    assert {str(path.relative_to(ROOT)) for name in PACKAGES for path in (ROOT / name).rglob("*.py")} <= held


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_can_be_imported(python, package):
    if package == "torch_reference":
        pytest.importorskip("torch")
    python(IMPORT_ALL, package, python.site)


def test_a_network_trains_without_pytorch(python):
    python(TRAIN)
