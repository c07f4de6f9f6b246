import pytest
from benchmarks import memory


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "split"), [(2_000, (2_000, 0, 0)), (40_000, (40_000, 0, 0)), (40_000, (500, 500, 39_000))]
)
def test_the_whole_command_takes_little_beyond_the_images(tmp_path, count, split):
    memory.write_images(tmp_path / "images.npz", count)
    run = memory.measured(tmp_path / "images.npz", count, split, epochs=1)
    assert (run.images, run.split) == (count, split)
    assert 50 < run.beyond_images < 200  # Python and NumPy alone are 25 MiB


def test_splits_use_all_images():
    assert memory.splits(320_000) == [(320_000, 0, 0), (10_000, 1_000, 309_000), (256_000, 32_000, 32_000)]
