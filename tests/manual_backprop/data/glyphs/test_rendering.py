import logging
import shutil
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from manual_backprop import MLP, load_dataset, train
from manual_backprop.data.glyphs import rendering as glyphs
from manual_backprop.data.glyphs.faces import default_faces
from manual_backprop.data.glyphs.letters import fill, letter_of
from manual_backprop.data.glyphs.rendering import load_glyphs, render_glyphs
from manual_backprop.data.reading import DataError

FONTS = Path(mpl.get_data_path(), "fonts", "ttf")


@pytest.fixture(scope="module")
def letters():
    return render_glyphs(4000)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache folder of its own, and fewer images to fill it with."""
    monkeypatch.setattr(glyphs, "user_cache_path", lambda _: tmp_path / "cache")
    monkeypatch.setattr(glyphs, "COUNT", 30)
    return tmp_path / "cache"


@pytest.fixture
def no_rendering(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("rendered in spite of a good cache")

    return lambda: monkeypatch.setattr(glyphs, "render_glyphs", refuse)


def assert_same(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 100))
def test_images_do_not_depend_on_how_many_there_are(letters, count):
    assert_same(render_glyphs(count), [part[:count] for part in letters])


def test_seeds_draw_different_letters(letters):
    others, labels = render_glyphs(100, seed=1)
    np.testing.assert_array_equal(labels, letters[1][:100])
    assert (others != letters[0][:100]).any(axis=(1, 2)).sum() > 95  # a bar is a white square however it is bent


def test_the_global_random_state_is_neither_used_nor_changed():
    np.random.seed(3)
    before = np.random.get_state()[1].copy()
    render_glyphs(10)
    np.testing.assert_array_equal(np.random.get_state()[1], before)


def test_types_and_balance(letters):
    images, labels = letters
    assert (images.dtype, images.shape) == (np.uint8, (4000, 28, 28))
    assert (labels.dtype, labels.shape) == (np.int64, (4000,))
    assert np.bincount(labels).tolist() == [400] * 10


def test_the_labels_name_the_letters(letters):
    """Most images are nearest to the mean of all that have their label; at random it would be one in ten."""
    images, labels = letters[0].reshape(-1, 784) / 255, letters[1]
    means = np.array([[fill(letter, letter.points) for letter in face] for face in default_faces()]).mean(axis=0)
    distances = np.linalg.norm(images[:, np.newaxis] - means.reshape(10, 784) / 255, axis=2)
    correct = distances.argmin(axis=1) == labels
    assert min(correct[labels == label].mean() for label in range(10)) > 0.5


def test_one_letter_in_ten_is_decorated():
    """A box stays white at its centre unless it is hollow or cut out of a sign."""
    box = letter_of([np.array([(0.0, 0), (1, 0), (1, 1), (0, 1)])])
    images, _ = render_glyphs(1000, fonts=[[box] * 10])
    assert 60 < np.sum(images[:, 14, 14] == 0) < 140  # four deviations of 9.5


def test_the_ink_of_every_image_touches_all_four_sides(letters):
    images, _ = letters
    for side in (images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]):
        assert side.any(axis=1).all()


def test_no_two_images_are_equal(letters):
    images, _ = letters
    assert len(np.unique(images.reshape(len(images), -1), axis=0)) > 0.99 * len(images)  # white squares are


def test_the_pixels_are_distributed_as_those_of_notmnist(letters, real_images):
    """Mean, deviation, and quantiles of the share of ink, to half of what separates the letters from a plain font."""
    from manual_backprop.data.idx import read_idx_pair

    real = read_idx_pair(real_images).images / 255
    ours = letters[0].reshape(-1, 784) / 255
    assert abs(ours.mean() - real.mean()) < 0.03
    assert abs(ours.std() - real.std()) < 0.03
    quantiles = [0.05, 0.5, 0.95]
    differences = np.quantile(ours.mean(axis=1), quantiles) - np.quantile(real.mean(axis=1), quantiles)
    assert np.abs(differences).max() < 0.1


def test_given_faces_are_used(letters):
    images, _ = render_glyphs(20, fonts=default_faces()[:1])
    assert (images != letters[0][:20]).any()
    assert_same(render_glyphs(20, fonts=default_faces()), render_glyphs(20))


def test_the_cache_holds_what_was_rendered(cache, no_rendering, letters):
    first = load_glyphs()
    assert_same(first, [part[:30] for part in letters])
    assert [path.name for path in cache.iterdir()] == [f"glyphs-{glyphs.RECIPE}.npz"]
    no_rendering()
    assert_same(load_glyphs(), first)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.floats(0, 1, exclude_max=True), st.integers(0, 7), st.booleans())
def test_a_cache_damaged_anywhere_is_rendered_anew(cache, letters, place, bit, cut):
    load_glyphs()
    path = next(cache.iterdir())
    whole = path.read_bytes()
    damaged = bytearray(whole)
    damaged[int(place * len(whole))] ^= 1 << bit
    path.write_bytes(whole[: int(place * len(whole))] if cut else damaged)
    assert_same(load_glyphs(), [part[:30] for part in letters])


@pytest.mark.parametrize(
    "arrays",
    [
        {"images": np.zeros((30, 28, 28), np.uint8)},
        {"images": np.zeros((29, 28, 28), np.uint8), "labels": np.zeros(30, np.int64)},
        {"images": np.zeros((30, 28, 28)), "labels": np.zeros(30, np.int64)},
        {"images": np.zeros((30, 28, 28), np.uint8), "labels": np.zeros(30, np.int32)},
        {"images": np.array([{}], object), "labels": np.zeros(30, np.int64)},
    ],
)
def test_a_cache_of_something_else_is_rendered_anew(cache, letters, no_rendering, arrays):
    cache.mkdir()
    np.savez(cache / f"glyphs-{glyphs.RECIPE}.npz", **arrays)
    assert_same(load_glyphs(), [part[:30] for part in letters])
    no_rendering()
    load_glyphs()


def test_work_goes_on_where_nothing_can_be_cached(cache, letters, caplog):
    caplog.set_level(logging.INFO, logger="manual_backprop.data.glyphs")
    cache.write_text("a file in the place of the folder")
    assert_same(load_glyphs(), [part[:30] for part in letters])
    assert "rendered again next time" in caplog.text
    cache.unlink()
    (cache / f"glyphs-{glyphs.RECIPE}.npz").mkdir(parents=True)
    assert_same(load_glyphs(), [part[:30] for part in letters])


def test_a_folder_of_fonts(cache, tmp_path, no_rendering, letters):
    fonts = shutil.copytree(FONTS, tmp_path / "fonts", ignore=shutil.ignore_patterns("STIX*"))
    first = load_glyphs(fonts)
    assert (first[0] != letters[0][:30]).any()
    (fonts / "readme.txt").write_text("not part of the digest")
    moved = fonts.rename(tmp_path / "the same elsewhere")
    (moved / "DejaVuSans.ttf").unlink()
    second = load_glyphs(moved)
    assert (second[0] != first[0]).any()
    assert len(list(cache.iterdir())) == 2
    shutil.copy(FONTS / "DejaVuSans.ttf", moved)
    no_rendering()
    assert_same(load_glyphs(moved), first)


def test_a_missing_folder_is_refused(cache, tmp_path):
    with pytest.raises(DataError, match="no such folder; expected a folder of fonts") as caught:
        load_glyphs(tmp_path / "mis\nsing")
    assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="no such folder"):
        load_glyphs(FONTS / "cmr10.ttf")
    with pytest.raises(DataError, match="0 different faces in 0 font files"):
        load_glyphs(tmp_path)
    assert not cache.exists()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_the_assignments_network_finds_it_as_hard_as_notmnist(seed, monkeypatch):
    """Real letters: 0.977 and 0.913. Other seeds of letters and weights move validation by about 0.01."""
    monkeypatch.setattr(glyphs, "load_glyphs", lambda _: render_glyphs(seed=seed))
    history = train(MLP.xavier([784, 1000, 10], seed=seed), load_dataset("glyphs"))
    assert 0.975 < history.train_accuracy[-1] < 0.995
    assert 0.89 < history.valid_accuracy[-1] < 0.94
