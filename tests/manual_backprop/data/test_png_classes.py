import io

import numpy as np
import pytest
from data_files import png_bytes, some_examples

from manual_backprop.data.png_classes import PngClasses, UnreadableImagesWarning, is_png
from manual_backprop.data.reading import DataError


@pytest.fixture
def classes():
    return PngClasses("some", 1000)


def add(classes, title, content):
    classes.add(*title.split("/"), io.BytesIO(content))


def test_names_of_images():
    assert is_png("a.png")
    assert is_png("A.PNG")
    assert not any(map(is_png, ["._a.png", "a.jpg", "png", ".png"]))


def test_images_are_in_the_order_of_their_names(classes, rng):
    images, _ = some_examples(rng, 4)
    for title, image in zip(["b/2", "a/10", "b/1", "a/9"], images, strict=True):
        add(classes, title, png_bytes(image))
    examples = classes.examples(["b", "a"], "somewhere")
    np.testing.assert_array_equal(examples.images, images[[1, 3, 2, 0]].reshape(4, -1))
    assert examples.labels.tolist() == [0, 0, 1, 1]
    assert examples.labels.dtype == np.int64
    assert examples.class_names == ("a", "b")
    assert examples.image_shape == (5, 4)
    assert examples.source == "somewhere (4 images)"


def test_black_and_white_images_become_0_and_255(classes):
    add(classes, "a/1", png_bytes(np.array([[0, 255]], np.uint8), "1"))
    add(classes, "b/1", png_bytes(np.array([[255, 0]], np.uint8), "1"))
    assert classes.examples(["a", "b"], "").images.tolist() == [[0, 255], [255, 0]]


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "I;16"])
def test_colours_and_16_bits_are_refused(classes, mode):
    with pytest.raises(DataError, match=f"some: a/1 has pixels of mode {mode}; expected greyscale of 8 bits"):
        add(classes, "a/1", png_bytes(np.zeros((5, 4), np.uint8), mode))


def test_another_size_is_refused(classes):
    add(classes, "a/1", png_bytes(np.zeros((5, 4), np.uint8)))
    with pytest.raises(DataError, match="some: a/2 is 5 x 4 pixels; expected 4 x 5 as in the images before it"):
        add(classes, "a/2", png_bytes(np.zeros((4, 5), np.uint8)))


def test_pixels_are_limited_by_the_size_of_the_files(classes):
    content = png_bytes(np.zeros((5000, 5000), np.uint8))
    add(classes, "a/1", content)
    add(classes, "a/2", content)
    with pytest.raises(DataError, match="some: a/3 is 5000 x 5000 pixels; expected at most 67,108,864 in all"):
        add(classes, "a/3", content)


def test_a_png_that_claims_too_much_for_pillow_is_unreadable(classes):
    content = bytearray(png_bytes(np.zeros((5, 4), np.uint8)))
    content[16:24] = b"\x00\x01\x00\x00" * 2
    add(classes, "a/1", content)
    assert classes.unreadable == ["a/1"]


def test_unreadable_images_are_left_out_counted_and_warned_of(classes, rng):
    images, _ = some_examples(rng, 2)
    add(classes, "a/0", b"")
    add(classes, "a/1", png_bytes(images[0])[:50])
    add(classes, "a/2", png_bytes(images[0]))
    add(classes, "b/1", png_bytes(images[1]))
    with pytest.warns(UnreadableImagesWarning, match=r"^some: left out 2 unreadable PNG files, the first a/0$"):
        examples = classes.examples(["a", "b"], "")
    np.testing.assert_array_equal(examples.images, images.reshape(2, -1))


def test_a_png_cut_anywhere_or_with_any_bit_changed_is_unreadable_or_whole(classes, rng):
    image = some_examples(rng, 1)[0][0]
    whole = png_bytes(image)
    flipped = [whole[:i] + bytes([whole[i] ^ 1 << bit]) + whole[i + 1 :] for i in range(len(whole)) for bit in range(8)]
    cut = [whole[:length] for length in range(len(whole))]
    for content in flipped + cut:
        add(classes, "a/1", content)
        assert set(classes.pixels.values()) <= {image.tobytes()}
    assert len(classes.unreadable) > 0.9 * len(flipped + cut)  # all but the end marker's


@pytest.mark.parametrize("folders", [[], ["a"]])
def test_fewer_than_two_classes_are_refused(classes, folders):
    add(classes, "a/1", png_bytes(np.zeros((5, 4), np.uint8)))
    with pytest.raises(
        DataError, match=f"some: {len(folders)} sub-folders; expected one sub-folder of PNG files for each class"
    ):
        classes.examples(folders, "")


@pytest.mark.parametrize("content", [None, b""])
def test_a_class_without_a_readable_image_is_refused(classes, content):
    add(classes, "a/1", png_bytes(np.zeros((5, 4), np.uint8)))
    if content is not None:
        add(classes, "b/1", content)
    with pytest.raises(DataError, match="some: no readable PNG file in sub-folder b"):
        classes.examples(["a", "b"], "")
