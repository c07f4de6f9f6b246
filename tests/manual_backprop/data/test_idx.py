import gzip
import re

import numpy as np
import pytest
from data_files import idx_bytes, some_examples, write_idx_pair
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from manual_backprop.data import reading
from manual_backprop.data.idx import find_pair, is_idx, read_idx, read_idx_pair
from manual_backprop.data.reading import DataError

SHAPES = hnp.array_shapes(min_dims=3, max_dims=3, max_side=6)


@given(images=hnp.arrays(np.uint8, SHAPES), ending=st.sampled_from(["", ".gz"]), mapped=st.booleans())
def test_what_is_written_is_read(tmp_path_factory, images, ending, mapped):
    labels = np.arange(len(images), dtype=np.uint8)
    file = write_idx_pair(tmp_path_factory.mktemp("idx"), images, labels, ending=ending)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "MAPPED_ABOVE", 0 if mapped else 2**28)
        examples = read_idx_pair(file)
    assert isinstance(examples.images, np.memmap) == (mapped and not ending)
    assert examples.image_shape == images.shape[1:]
    np.testing.assert_array_equal(examples.images, images.reshape(len(images), -1))
    np.testing.assert_array_equal(examples.labels, labels)


def test_real_images(real_images):
    examples = read_idx_pair(real_images)
    assert examples.images.shape == (10_000, 784)
    assert examples.image_shape == (28, 28)
    assert examples.source == "IDX files t10k-images-idx3-ubyte.gz and t10k-labels-idx1-ubyte.gz (10,000 images)"
    np.testing.assert_array_equal(np.bincount(examples.labels), [1000] * 10)
    raw = gzip.decompress((real_images / "t10k-images-idx3-ubyte.gz").read_bytes())
    assert examples.images[1234].tobytes() == raw[16 + 1234 * 784 :][:784]


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("mapped", [False, True])
def test_a_file_cut_anywhere_is_refused(tmp_path, rng, monkeypatch, ending, mapped):
    monkeypatch.setattr(reading, "MAPPED_ABOVE", 0 if mapped else 2**28)
    file = write_idx_pair(tmp_path, *some_examples(rng), ending=ending)
    for victim in tmp_path.iterdir():
        whole = victim.read_bytes()
        for length in range(len(whole)):
            victim.write_bytes(whole[:length])
            with pytest.raises(DataError) as error:
                read_idx_pair(file)
            assert str(victim) in str(error.value)
        victim.write_bytes(whole)
    assert len(read_idx_pair(file).images) == 20


@pytest.mark.parametrize("ending", ["", ".gz"])
@pytest.mark.parametrize("mapped", [False, True])
def test_bytes_after_the_last_value_are_refused(tmp_path, rng, monkeypatch, ending, mapped):
    monkeypatch.setattr(reading, "MAPPED_ABOVE", 0 if mapped else 2**28)
    file = tmp_path / f"some-images-idx3-ubyte{ending}"
    content = idx_bytes(some_examples(rng)[0]) + b"\0"
    file.write_bytes(gzip.compress(content) if ending else content)
    with pytest.raises(DataError, match=r"a header that claims 20 x 5 x 4 bytes; expected .*as many as follow"):
        read_idx(file, dimensions=3)


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (
            "00 00 08 01 00 00 00 14",
            "begins with bytes 00 00 08 01; expected an IDX file of unsigned bytes in 3 dimensions",
        ),
        ("00 00 0d 03" + 11 * " 00" + " 01", "begins with bytes 00 00 0d 03"),
        ("00 01 08 03" + 11 * " 00" + " 01", "begins with bytes 00 01 08 03"),
        ("", "begins with bytes (none)"),
        ("00 00 08 03 00 00 00", "begins with bytes 00 00 08 03"),
        ("00 00 08 03 80 00 00 00 00 00 00 1c 00 00 00 1c", "a header that claims 2,147,483,648 x 28 x 28 bytes"),
        (
            "00 00 08 03 ff ff ff ff ff ff ff ff ff ff ff ff",
            "claims 4,294,967,295 x 4,294,967,295 x 4,294,967,295 bytes",
        ),
        ("00 00 08 03 00 00 00 01 00 00 00 01 00 00 00 02", "a header that claims 1 x 1 x 2 bytes"),
        ("00 00 08 03 00 00 00 00 00 00 00 1c 00 00 00 1c", "images of shape (0, 28, 28)"),
        ("00 00 08 03 00 00 00 05 00 00 00 00 00 00 00 1c", "images of shape (5, 0, 28)"),
    ],
)
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_a_wrong_header_is_refused(tmp_path, rng, header, message, ending):
    file = write_idx_pair(tmp_path, *some_examples(rng), ending=ending)
    content = bytes.fromhex(header)
    file.write_bytes(gzip.compress(content) if ending else content)
    with pytest.raises(DataError, match=re.escape(message)) as error:
        read_idx_pair(file)
    assert str(error.value).startswith(str(file))


def test_a_decompression_bomb_is_refused_unopened(tmp_path):
    file = tmp_path / "bomb-images-idx3-ubyte.gz"
    images = np.zeros((100_000, 28, 28), np.uint8)
    file.write_bytes(gzip.compress(idx_bytes(images), compresslevel=1))
    with pytest.raises(
        DataError, match=r"claims 100,000 x 28 x 28 bytes; expected at most 67,108,864 in a compressed file"
    ):
        read_idx(file, dimensions=3)


def test_labels_are_counted_in_their_own_file(tmp_path, rng):
    images, labels = some_examples(rng)
    file = write_idx_pair(tmp_path, images, labels[1:])
    with pytest.raises(DataError, match="some-labels-idx1-ubyte: 19 labels; expected 20, one for each image"):
        read_idx_pair(file)


def test_names_of_idx_files(tmp_path):
    names = ["a-images-idx3-ubyte", "a-labels-idx1-ubyte.gz", "-images-idx3-ubyte"]
    assert all(is_idx(tmp_path / name) for name in names)
    assert not any(is_idx(tmp_path / name) for name in ["a-images-idx1-ubyte", "a-images-idx3-ubyte.zip", "images.npz"])


@pytest.mark.parametrize("given_as", ["images", "labels", "folder"])
@pytest.mark.parametrize("endings", [("", ""), (".gz", ".gz"), ("", ".gz"), (".gz", "")])
def test_the_pair_is_found_from_either_file_and_from_the_folder(tmp_path, rng, given_as, endings):
    pair = tmp_path / f"t10k-images-idx3-ubyte{endings[0]}", tmp_path / f"t10k-labels-idx1-ubyte{endings[1]}"
    for file in pair:
        file.touch()
    if given_as != "folder":
        write_idx_pair(tmp_path, *some_examples(rng), name="train")
    assert find_pair({"images": pair[0], "labels": pair[1], "folder": tmp_path}[given_as]) == pair


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_a_file_given_by_name_is_the_one_that_is_read(tmp_path, rng, ending):
    for other in ("", ".gz"):
        write_idx_pair(tmp_path, *some_examples(rng), ending=other)
    assert [file.suffix for file in find_pair(tmp_path / f"some-images-idx3-ubyte{ending}")] == [ending, ending]
    assert [file.suffix for file in find_pair(tmp_path)] == ["", ""]


def test_a_folder_of_several_pairs_is_refused(tmp_path, rng):
    for name in ("train", "t10k"):
        write_idx_pair(tmp_path, *some_examples(rng), name=name)
    with pytest.raises(DataError, match=r"IDX files of 2 sets \(t10k, train\); expected the path of one of the files"):
        read_idx_pair(tmp_path)


@pytest.mark.parametrize("missing", ["images-idx3", "labels-idx1"])
def test_half_a_pair_is_refused(tmp_path, rng, missing):
    write_idx_pair(tmp_path, *some_examples(rng))
    (tmp_path / f"some-{missing}-ubyte").unlink()
    with pytest.raises(
        DataError, match=f"no file some-{missing}-ubyte or some-{missing}-ubyte.gz; expected images and labels"
    ):
        read_idx_pair(tmp_path)
