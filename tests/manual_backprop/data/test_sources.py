import os
import sys
import types

import numpy as np
import pytest
from data_files import png_files, some_examples, write_folder, write_idx_pair, write_tar_gz

from manual_backprop.data.reading import DataError
from manual_backprop.data.sources import read_source


@pytest.fixture
def sources(tmp_path, rng):
    """The same examples as each kind of source."""
    images, labels = some_examples(rng)
    files = png_files(images, labels)
    np.savez(tmp_path / "some.npz", images=images, labels=labels)
    (tmp_path / "SOME.NPZ").write_bytes((tmp_path / "some.npz").read_bytes())
    paths = [
        tmp_path / "some.npz",
        tmp_path / "SOME.NPZ",
        write_idx_pair(tmp_path / "idx", images, labels),
        write_idx_pair(tmp_path / "gz", images, labels, ending=".gz"),
        tmp_path / "idx",
        tmp_path / "gz",
        write_folder(tmp_path / "folder", files),
        write_tar_gz(tmp_path / "some.tar.gz", files),
        write_tar_gz(tmp_path / "SOME.TGZ", files),
    ]
    return images, labels, paths


@pytest.fixture
def fonts(monkeypatch, rng):
    """A stand-in for the rendered letters, which remembers the folder it was asked for."""
    images, labels = some_examples(rng)
    asked = []
    module = types.ModuleType("manual_backprop.data.glyphs.rendering")
    module.load_glyphs = lambda folder: (asked.append(folder), (images, labels.astype(np.int64)))[1]
    monkeypatch.setitem(sys.modules, "manual_backprop.data.glyphs.rendering", module)
    return asked


def test_every_kind_of_path_gives_the_same_examples(sources):
    images, labels, paths = sources
    for path in [*paths, *map(str, paths)]:
        examples = read_source(path)
        order = np.argsort(
            examples.images[:, 0]
        )  # PNG files are in the order of their classes; the first pixel is unique
        np.testing.assert_array_equal(examples.images[order], images.reshape(20, -1))
        np.testing.assert_array_equal(examples.labels[order], labels)
        assert examples.class_names == tuple("ABCDEFGHIJ")
        assert examples.image_shape == (5, 4)


def test_glyphs(fonts, tmp_path):
    examples = read_source("glyphs")
    assert examples.source == "letters rendered from matplotlib's fonts, not notMNIST (20 images)"
    assert examples.images.shape == (20, 20)
    examples = read_source(f"glyphs:{tmp_path}")
    assert examples.source.startswith(f"letters rendered from the fonts in {tmp_path}, not notMNIST")
    assert fonts == [None, tmp_path]


@pytest.mark.parametrize("source", ["missing", "mis\nsing.npz", "a\0b", "x" * 5000, "glyphs:", "glyphs/"])
def test_a_missing_path_is_named_with_what_is_expected(source, fonts, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        FileNotFoundError, match=r": no such file or folder; expected glyphs, glyphs:DIR, an \.npz"
    ) as error:
        read_source(source)
    assert str(error.value).isprintable()
    assert not fonts


def test_no_source_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="no data source"):
        read_source("")


@pytest.mark.parametrize("name", ["some.zip", "some.npy", "images-idx3-ubyte", "some.tar", "some"])
def test_a_file_of_another_kind_is_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"content")
    with pytest.raises(DataError, match="a file of no known kind; expected glyphs"):
        read_source(tmp_path / name)


@pytest.mark.parametrize("name", ["some.npz", "some.tar.gz", "a-images-idx3-ubyte", "a-labels-idx1-ubyte.gz"])
def test_an_empty_file_is_refused(tmp_path, name):
    for kind in ("images-idx3", "labels-idx1"):
        (tmp_path / f"a-{kind}-ubyte").touch()
    (tmp_path / name).touch()
    with pytest.raises(DataError, match=str(tmp_path)):
        read_source(tmp_path / name)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("name", ["some.npz", "some.tar.gz", "a-images-idx3-ubyte"])
def test_a_pipe_is_refused_at_once(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(DataError, match="neither a file nor a folder"):
        read_source(tmp_path / name)
