import io
import re
import struct
import zipfile

import numpy as np
import pytest
from data_files import some_examples
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from manual_backprop.data import npz, reading
from manual_backprop.data.npz import is_course_file, read_npz
from manual_backprop.data.reading import DataError

SAVERS = [np.savez, np.savez_compressed]
PIXELS = st.sampled_from([np.uint8, np.float32, np.float64])


def npy(header: str, values: bytes = b"", version: bytes = b"\x01\x00") -> bytes:
    """An .npy file with this header."""
    length = struct.pack("<H" if version == b"\x01\x00" else "<I", len(header))
    return b"\x93NUMPY" + version + length + header.encode() + values


def npy_of(array: np.ndarray) -> bytes:
    """The .npy file of an array, object arrays included."""
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def write_zip(path, compression=zipfile.ZIP_DEFLATED, **members: bytes):
    """An archive of .npy files; ten labels where none are given."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in ({"labels": npy_of(np.zeros(10, np.uint8))} | members).items():
            archive.writestr(f"{name}.npy", content)
    return path


@given(
    images=PIXELS.flatmap(
        lambda dtype: hnp.arrays(
            dtype, hnp.array_shapes(min_dims=2, max_dims=3, max_side=6), elements=st.integers(0, 1)
        )
    ),
    save=st.sampled_from(SAVERS),
    fortran=st.booleans(),
    mapped=st.booleans(),
)
def test_what_is_written_is_read(tmp_path_factory, images, save, fortran, mapped):
    path = tmp_path_factory.mktemp("npz") / "some.npz"
    labels = np.arange(len(images))
    save(path, extra=labels, images=np.asfortranarray(images) if fortran else images, labels=labels)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reading, "MAPPED_ABOVE", 0 if mapped else 2**28)
        examples = read_npz(path)
    assert examples.images.dtype == images.dtype
    np.testing.assert_array_equal(examples.images, images.reshape(len(images), -1))
    np.testing.assert_array_equal(examples.labels, labels)
    if images.flags.c_contiguous and not np.asfortranarray(images).flags.c_contiguous and not fortran:
        assert isinstance(examples.images, np.memmap) == (mapped and save is np.savez)


def test_a_map_finds_its_member_behind_others_and_behind_extra_fields(tmp_path, rng, monkeypatch):
    monkeypatch.setattr(reading, "MAPPED_ABOVE", 0)
    images, labels = some_examples(rng)
    path = tmp_path / "some.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", b"not an array")
        with archive.open("labels.npy", "w", force_zip64=True) as member:
            member.write(npy_of(labels))
        with archive.open("images.npy", "w", force_zip64=True) as member:
            member.write(npy_of(images))
    examples = read_npz(path)
    assert isinstance(examples.images, np.memmap)
    np.testing.assert_array_equal(examples.images, images.reshape(20, -1))
    np.testing.assert_array_equal(examples.labels, labels)


@pytest.mark.parametrize("save", SAVERS)
@pytest.mark.parametrize("mapped", [False, True])
def test_a_file_cut_anywhere_is_refused(tmp_path, rng, monkeypatch, save, mapped):
    monkeypatch.setattr(reading, "MAPPED_ABOVE", 0 if mapped else 2**28)
    images, labels = some_examples(rng)
    path = tmp_path / "some.npz"
    save(path, images=images, labels=labels)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError) as error:
            read_npz(path)
        assert str(error.value).startswith(f"{path}: ")


class Bomb:
    """What must never be unpickled."""

    def __reduce__(self):
        return pytest.exit, ("a pickle was loaded",)


ARRAY = "{'descr': '%s', 'fortran_order': False, 'shape': %s, }\n"


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (
            npy_of(np.array([Bomb()] * 10, object)),
            "images holds Python objects, which are never loaded; expected an array",
        ),
        (npy_of(np.zeros(10, [("a", "O")])), "images holds Python objects"),
        (npy_of(np.zeros((10, 2, 2), ">f4")), "images of dtype >f4"),
        (npy_of(np.zeros((10, 2, 2), np.int64)), "images of dtype int64"),
        (npy_of(np.full((10, 4), np.nan)), "pixel nan in image 0"),
        (npy_of(np.zeros((9, 2, 2), np.uint8)), "10 labels; expected 9, one for each image"),
        (npy_of(np.zeros((0, 2, 2), np.uint8)), "images of shape (0, 2, 2)"),
        (
            npy(ARRAY % ("|u1", "(10, 2, 2)"), bytes(39)),
            "images claims shape (10, 2, 2) of uint8; expected as much as follows (39",
        ),
        (npy(ARRAY % ("|u1", "(10, 2, 2)"), bytes(41)), "expected as much as follows (41"),
        (npy(ARRAY % ("|u1", "(2147483648, 28, 28)"), bytes(9)), "images claims shape (2147483648, 28, 28) of uint8"),
        (npy(ARRAY % ("<f8", "(9999999999999999999, 9)"), bytes(9)), "images claims shape (9999999999999999999, 9)"),
        (npy(ARRAY % ("|u1", "(-10, -2, 2)"), bytes(40)), "images claims shape (-10, -2, 2)"),
        (npy(ARRAY % ("|u1", "(True, 1)"), bytes(1)), "cannot be read"),
        (npy(ARRAY % ("|V0", "(10, 2, 2)")), "cannot be read"),
        (npy(ARRAY % ("|u1", "'ten'")), "cannot be read"),
        (npy("((((" * 2000), "cannot be read"),
        (npy("-" * 9000 + "1"), "cannot be read"),
        (npy("{" * 99999, version=b"\x02\x00"), "cannot be read"),
        (npy("import os\n" * 3), "cannot be read"),
        (npy(ARRAY % ("|u1", "(10, 4)"), bytes(40), b"\x03\x00"), "npy version (3, 0)"),
        (b"", "cannot be read"),
        (b"\x93NUMPY", "cannot be read"),
    ],
)
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_wrong_array_is_refused(tmp_path, images, message, compression):
    path = write_zip(tmp_path / "some.npz", compression, images=images)
    with pytest.raises(DataError, match=re.escape(message)) as error:
        read_npz(path)
    assert str(error.value).startswith(f"{path}: ")


def test_a_header_of_python_2_is_read(tmp_path):
    images = npy(ARRAY % ("|u1", "(10L, 2L, 2L)"), bytes(40))
    assert read_npz(write_zip(tmp_path / "some.npz", images=images)).images.shape == (10, 4)


def test_a_missing_array_is_named_with_those_there_are(tmp_path):
    with pytest.raises(DataError, match=r"no array images among labels\.npy, pixels\.npy; expected an \.npz file"):
        read_npz(write_zip(tmp_path / "some.npz", pixels=npy_of(np.zeros(3))))


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_rare_compressions_are_refused_since_they_may_need_much_memory(tmp_path, compression):
    path = write_zip(tmp_path / "some.npz", compression, images=npy_of(np.zeros((10, 4), np.uint8)))
    with pytest.raises(DataError, match="compressed in way"):
        read_npz(path)


def test_an_encrypted_member_is_refused(tmp_path):
    path = write_zip(tmp_path / "some.npz", images=npy_of(np.zeros((10, 4), np.uint8)))
    content = bytearray(path.read_bytes())
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = -1
        while (place := content.find(signature, place + 1)) >= 0:
            content[place + flags] |= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match="encrypted"):
        read_npz(path)


def test_a_decompression_bomb_is_refused_unopened(tmp_path):
    path = write_zip(tmp_path / "some.npz", images=npy_of(np.zeros((100_000, 28, 28), np.uint8)))
    with pytest.raises(
        DataError, match=r"images claims 78,400,128 bytes; expected at most 67,108,864 in a file of this size"
    ):
        read_npz(path)


def test_a_bomb_that_understates_its_size_is_cut_short(tmp_path):
    path = write_zip(tmp_path / "some.npz", images=npy_of(np.zeros((100_000, 28, 28), np.uint8)))
    content = path.read_bytes().replace(struct.pack("<I", 78_400_128), struct.pack("<I", 1000))
    path.write_bytes(content)
    with pytest.raises(DataError, match="Bad CRC"):
        read_npz(path)


def test_the_course_file_is_told_by_its_git_blob_id(tmp_path, monkeypatch):
    path = tmp_path / "some.npz"
    path.write_bytes(b"hello\n")
    assert not is_course_file(path)
    monkeypatch.setattr(npz, "COURSE_FILE", "ce013625030ba8dba906f756967f9e9ca394464a")  # git hash-object, of "hello"
    assert is_course_file(path)


def test_the_course_file_is_reported(tmp_path, rng, monkeypatch):
    images, labels = some_examples(rng)
    np.savez(tmp_path / "a\nb.npz", images=images, labels=labels)
    assert read_npz(tmp_path / "a\nb.npz").source == r"npz file a\nb.npz (20 images)"
    monkeypatch.setattr(npz, "is_course_file", lambda _: True)
    assert read_npz(tmp_path / "a\nb.npz").source == "the course's notMNIST.npz (20 images)"
