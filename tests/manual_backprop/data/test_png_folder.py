import os

import numpy as np
import pytest
from data_files import png_bytes, png_files, some_examples, write_folder
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from manual_backprop.data.png_classes import UnreadableImagesWarning
from manual_backprop.data.png_folder import read_png_folder
from manual_backprop.data.reading import DataError

IMAGES = hnp.arrays(
    np.uint8, hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=7).map(lambda s: (s[0] + 1, *s[1:]))
)


@given(IMAGES, st.randoms(use_true_random=False))
def test_what_is_written_is_read(tmp_path_factory, images, random):
    labels = np.arange(len(images), dtype=np.uint8)
    files = list(png_files(images, labels).items())
    random.shuffle(files)
    examples = read_png_folder(write_folder(tmp_path_factory.mktemp("png"), dict(files)))
    assert examples.image_shape == images.shape[1:]
    assert examples.class_names == tuple("ABCDEFGH"[: len(images)])
    np.testing.assert_array_equal(examples.images, images.reshape(len(images), -1))
    np.testing.assert_array_equal(examples.labels, labels)


def test_other_and_hidden_files_are_passed_over(tmp_path, rng):
    files = png_files(*some_examples(rng))
    write_folder(tmp_path, files | {".cache/x.png": b"", "A/.x.png": b"", "A/readme.txt": b"", "readme.txt": b""})
    assert len(read_png_folder(tmp_path).images) == 20


def test_the_names_of_folders_are_one_line_each(tmp_path, rng):
    content = png_bytes(some_examples(rng)[0][0])
    write_folder(tmp_path / "a\nset", {"x\ny/1.png": content, "z/1.png": content})
    examples = read_png_folder(tmp_path / "a\nset")
    assert examples.class_names == (r"x\ny", "z")
    assert examples.source == r"PNG files of folder a\nset (2 images)"


def test_empty_files_are_warned_of(tmp_path, rng):
    files = png_files(*some_examples(rng))
    write_folder(tmp_path, files | {"A/RGVtb2.png": b"", "F/Q3Jvc3.png": b""})
    with pytest.warns(UnreadableImagesWarning, match="left out 2 unreadable PNG files"):
        examples = read_png_folder(tmp_path)
    assert len(examples.images) == 20


def test_a_folder_without_classes_is_refused(tmp_path):
    with pytest.raises(DataError, match="0 sub-folders; expected one sub-folder of PNG files for each class"):
        read_png_folder(tmp_path)


def test_an_empty_class_is_refused(tmp_path, rng):
    write_folder(tmp_path, png_files(*some_examples(rng)))
    (tmp_path / "K").mkdir()
    with pytest.raises(DataError, match="no readable PNG file in sub-folder K"):
        read_png_folder(tmp_path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_pipe_in_place_of_an_image_is_refused_at_once(tmp_path, rng):
    write_folder(tmp_path, png_files(*some_examples(rng)))
    os.mkfifo(tmp_path / "A" / "pipe.png")
    with pytest.raises(DataError, match=r"pipe.png: neither a file nor a link to one; expected a PNG file"):
        read_png_folder(tmp_path)


def test_a_broken_link_is_refused(tmp_path, rng):
    write_folder(tmp_path, png_files(*some_examples(rng)))
    (tmp_path / "A" / "link.png").symlink_to("nowhere")
    with pytest.raises(DataError, match="cannot be read"):
        read_png_folder(tmp_path)
