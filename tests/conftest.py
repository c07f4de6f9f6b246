"""Fixtures that every test may use."""

import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import Phase, settings

# the same examples on every run, so that the gate's verdict is the change's and not the day's
settings.register_profile("gate", derandomize=True, deadline=None, max_examples=50)
# a drill asks only whether a test fails: not by what smallest example
settings.register_profile("drill", settings.get_profile("gate"), phases=[Phase.explicit, Phase.generate])
settings.load_profile("gate")

REAL_IMAGES = Path(__file__).parents[2] / "shared" / "data" / "notmnist"


@pytest.fixture(scope="session", autouse=True)
def one_thread_for_pytorch():
    """Share no sum out among threads: those of the tests are too small to gain by it."""
    if "torch" in sys.modules:  # some test module imported it when it was collected
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture
def rng(request):
    """A generator seeded by the test's own name, so that no other test can change its draws."""
    return np.random.default_rng(zlib.crc32(request.node.nodeid.encode()))


@pytest.fixture
def real_images():
    """The folder of 10,000 real notMNIST images, which cannot be redistributed."""
    if not REAL_IMAGES.is_dir():
        pytest.skip("needs the real notMNIST images in ../shared/data/notmnist, which are not part of this project")
    return REAL_IMAGES
