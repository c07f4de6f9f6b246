import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from manual_backprop.data.examples import class_labels, image_rows
from manual_backprop.data.reading import DataError

NUMBERS = hnp.integer_dtypes() | hnp.unsigned_integer_dtypes() | hnp.floating_dtypes()


@pytest.mark.parametrize(
    ("shape", "image_shape"),
    [((3, 5, 4), (5, 4)), ((3, 5, 4, 1), (5, 4)), ((3, 20), (1, 20)), ((3, 25), (5, 5)), ((1, 1), (1, 1))],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_images_become_rows_of_the_same_pixels(rng, shape, image_shape, dtype):
    images = rng.integers(0, 2, shape).astype(dtype)
    rows, found = image_rows("file", images)
    assert found == image_shape
    assert rows.dtype == dtype
    np.testing.assert_array_equal(rows, images.reshape(shape[0], -1))


@pytest.mark.parametrize("shape", [(), (3,), (3, 4, 4, 3), (3, 4, 4, 1, 1), (0, 4, 4), (3, 0), (3, 0, 4), (3, 4, 4, 0)])
def test_other_shapes_of_images_are_refused(shape):
    with pytest.raises(DataError, match=re.escape(f"file: images of shape {shape}; expected (N, height, width)")):
        image_rows("file", np.zeros(shape, np.uint8))


@pytest.mark.parametrize(
    "dtype", [bool, np.int8, np.int64, np.float16, ">f4", np.longdouble, complex, object, "U3", "u1,u1"]
)
def test_other_types_of_pixels_are_refused(dtype):
    with pytest.raises(DataError, match=r"^file: images of dtype .*; expected uint8 \(0 to 255\), or float32"):
        image_rows("file", np.zeros((3, 2, 2), dtype))


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf, -1e-30, 1.0000001, 255])
@pytest.mark.parametrize("number", [0, 4095, 4096, 9999])
def test_a_floating_pixel_outside_0_to_1_is_named(wrong, number):
    images = np.ones((10_000, 2, 2), np.float32)
    images[number, 1, 0] = wrong
    with pytest.raises(DataError, match=rf"^file: pixel .* in image {number}; expected floats from 0 to 1"):
        image_rows("file", images)


@given(hnp.arrays(NUMBERS, st.integers(1, 30), elements={"min_value": 0, "max_value": 9}))
def test_any_type_of_whole_numbers_will_do_for_labels(labels):
    labels = np.floor(labels).astype(labels.dtype)
    checked, names = class_labels("file", labels, len(labels))
    assert checked.dtype == np.int64
    assert names == tuple("ABCDEFGHIJ")
    np.testing.assert_array_equal(checked, labels)


@pytest.mark.parametrize(("classes", "last"), [(1, "J"), (10, "J"), (11, "K"), (26, "Z"), (27, "26"), (300, "299")])
def test_classes_are_ten_letters_or_as_many_as_occur(rng, classes, last):
    labels = rng.permutation(np.arange(3 * classes) % classes)
    _, names = class_labels("file", labels, len(labels))
    assert len(names) == max(10, classes)
    assert names[-1] == last
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 200, 3], "label 200 at example 2, but no example of class 2; expected 0 to 9, or more classes"),
        (list(range(1, 27)), "label 10 at example 9, but no example of class 0"),
        ([*range(10), 11, 12], "label 11 at example 10, but no example of class 10"),
        ([0, 1, -1], "label -1 at example 2; expected whole numbers from 0"),
        ([0.0, 1.5], "label 1.5 at example 1"),
        ([np.nan, 1.0], "label nan at example 0"),
        ([0.0, np.inf], "label inf at example 1"),
        ([0, 2**62], f"label {2**62} at example 1"),
        (np.array([0, 2**64 - 1], np.uint64), f"label {2**64 - 1} at example 1"),
    ],
)
def test_labels_that_are_no_classes_are_named(labels, message):
    with pytest.raises(DataError, match=f"^file: {re.escape(message)}"):
        class_labels("file", np.array(labels), len(labels))


@pytest.mark.parametrize(
    "labels", [np.eye(10), np.zeros((10, 1), int), np.array(3), np.array(["A"] * 10), np.ones(10, bool)]
)
def test_one_hot_rows_and_other_things_are_no_labels(labels):
    with pytest.raises(
        DataError, match=r"^file: labels of dtype .* and shape .*; expected whole numbers, one for each image"
    ):
        class_labels("file", labels, 10)


@pytest.mark.parametrize("count", [9, 11])
def test_as_many_labels_as_images(count):
    with pytest.raises(DataError, match=f"^file: 10 labels; expected {count}, one for each image"):
        class_labels("file", np.zeros(10, int), count)
