import gzip
import tarfile

import numpy as np
import pytest
from data_files import member, png_bytes, png_files, some_examples, tar_bytes, write_folder, write_tar_gz
from hypothesis import given
from hypothesis import strategies as st

from manual_backprop.data.png_archive import read_png_archive
from manual_backprop.data.png_classes import UnreadableImagesWarning
from manual_backprop.data.png_folder import read_png_folder
from manual_backprop.data.reading import DataError


@pytest.fixture
def files(rng):
    return png_files(*some_examples(rng))


@given(
    count=st.integers(10, 30),
    prefix=st.sampled_from(["", "./", "notMNIST_small/", "some/where/", "long/" * 40]),
    random=st.randoms(use_true_random=False),
)
def test_an_archive_reads_like_the_folder_it_was_packed_from(tmp_path_factory, count, prefix, random):
    folder = tmp_path_factory.mktemp("archive")
    images, _ = some_examples(np.random.default_rng(count), count)
    files = png_files(images, np.arange(count) % 10)
    expected = read_png_folder(write_folder(folder / "png", files))
    shuffled = [(prefix + name, content) for name, content in files.items()]
    random.shuffle(shuffled)
    examples = read_png_archive(write_tar_gz(folder / "some.tar.gz", dict(shuffled)))
    np.testing.assert_array_equal(examples.images, expected.images)
    np.testing.assert_array_equal(examples.labels, expected.labels)
    assert (examples.class_names, examples.image_shape) == (expected.class_names, expected.image_shape)
    assert examples.source == f"PNG files of archive some.tar.gz ({count} images)"


def test_other_hidden_and_empty_members_are_passed_over(tmp_path, files):
    more = {"readme.txt": b"text", "A/notes": b"", "._A/1.png": b"", "A/._1.png": b""}
    folders = [member(name, kind=tarfile.DIRTYPE) for name in ("./", "A", ".git", "A/deeper")]
    assert len(read_png_archive(write_tar_gz(tmp_path / "some.tar.gz", files | more, *folders)).images) == 20


def test_a_file_cut_anywhere_is_refused(tmp_path, rng):
    image = png_bytes(some_examples(rng)[0][0])
    path = write_tar_gz(tmp_path / "some.tar.gz", {"A/1.png": image, "B/1.png": image})
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(DataError) as error:
            read_png_archive(path)
        assert str(error.value).startswith(f"{path}: ")


def test_an_archive_cut_before_it_was_compressed_is_refused(tmp_path, rng):
    image = png_bytes(some_examples(rng)[0][0])
    whole = tar_bytes({"A/1.png": image, "B/1.png": image})
    content = 2 * (512 + 512)  # header and content of either file, in whole blocks
    for length in range(0, content + 512, 64):
        (tmp_path / "some.tar.gz").write_bytes(gzip.compress(whole[:length]))
        with pytest.raises(DataError):
            read_png_archive(tmp_path / "some.tar.gz")
    (tmp_path / "some.tar.gz").write_bytes(gzip.compress(whole[: content + 512]))
    assert len(read_png_archive(tmp_path / "some.tar.gz").images) == 2


def test_a_broken_header_in_mid_archive_is_not_taken_for_its_end(tmp_path, files):
    content = bytearray(tar_bytes(files))
    content[1024 * 10 + 150] ^= 1  # in the checksum of the eleventh header
    (tmp_path / "some.tar.gz").write_bytes(gzip.compress(content))
    with pytest.raises(DataError, match="bad checksum"):
        read_png_archive(tmp_path / "some.tar.gz")


@pytest.mark.parametrize("name", ["../A/x.png", "/A/x.png", "A/../../x.png", "/etc", ".."])
def test_a_member_that_points_outside_is_refused(tmp_path, files, name):
    path = write_tar_gz(tmp_path / "some.tar.gz", files, member(name))
    with pytest.raises(DataError, match=r"some.tar.gz: member .* points outside the archive"):
        read_png_archive(path)


@pytest.mark.parametrize(
    "kind",
    [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE],
)
def test_a_member_that_is_no_file_is_refused(tmp_path, files, kind):
    path = write_tar_gz(tmp_path / "some.tar.gz", files, member("A/x.png", kind=kind))
    with pytest.raises(DataError, match=r"member A/x.png is neither a folder nor an ordinary file"):
        read_png_archive(path)


@pytest.mark.parametrize("size", [2**31, 2**60, 2**80])
def test_a_member_that_claims_too_much_is_refused_at_once(tmp_path, files, size):
    path = write_tar_gz(tmp_path / "some.tar.gz", files, member("A/x.txt", size))
    with pytest.raises(DataError, match=f"member A/x.txt claims {size:,} bytes; expected at most 67,108,864"):
        read_png_archive(path)


@pytest.mark.parametrize("size", [-1, -512, -(2**40)])
def test_a_member_of_negative_size_is_refused_at_once(tmp_path, files, size):
    path = write_tar_gz(tmp_path / "some.tar.gz", files, member("A/x.txt", size))
    with pytest.raises(DataError, match=r"some\.tar\.gz: "):
        read_png_archive(path)


def test_a_pax_header_with_a_negative_size_is_refused_at_once(tmp_path, files):
    info = member("A/x.txt")
    info.pax_headers = {"size": "-1024"}
    content = info.tobuf(tarfile.PAX_FORMAT)
    (tmp_path / "some.tar.gz").write_bytes(gzip.compress(content + tar_bytes(files)))
    with pytest.raises(DataError, match=r"some\.tar\.gz: "):
        read_png_archive(tmp_path / "some.tar.gz")


def test_a_decompression_bomb_is_refused(tmp_path, files):
    path = tmp_path / "some.tar.gz"
    path.write_bytes(
        gzip.compress(tar_bytes(files)[: 20 * 1024], 1) + gzip.compress(tar_bytes({"x.txt": bytes(2**26)}), 1)
    )
    with pytest.raises(DataError, match="unpacks to more than 67,108,864 bytes"):
        read_png_archive(path)


@pytest.mark.parametrize("name", ["x.png", "deeper/A/x.png", "A/deeper/x.png"])
def test_images_at_different_depths_are_refused(tmp_path, files, name):
    path = write_tar_gz(tmp_path / "some.tar.gz", files | {name: png_bytes(np.zeros((5, 4), np.uint8))})
    with pytest.raises(DataError, match="expected folders side by side, one for each class"):
        read_png_archive(path)


def test_an_empty_class_is_refused(tmp_path, files):
    path = write_tar_gz(tmp_path / "some.tar.gz", files, member("K", kind=tarfile.DIRTYPE))
    with pytest.raises(DataError, match="no readable PNG file in sub-folder K"):
        read_png_archive(path)


def test_empty_files_are_warned_of(tmp_path, files):
    path = write_tar_gz(tmp_path / "some.tar.gz", files | {"A/x.png": b"", "F/x.png": b""})
    with pytest.warns(UnreadableImagesWarning, match="left out 2 unreadable PNG files, the first A/x.png"):
        assert len(read_png_archive(path).images) == 20


@pytest.mark.parametrize(
    "content",
    [b"", b"no gzip", gzip.compress(b""), gzip.compress(b"no tar" * 200), tar_bytes({})],
    ids=["empty", "no gzip", "nothing in gzip", "no tar", "no gzip around a tar"],
)
def test_what_is_no_archive_is_refused(tmp_path, content):
    (tmp_path / "some.tar.gz").write_bytes(content)
    with pytest.raises(DataError, match=r"some\.tar\.gz: "):
        read_png_archive(tmp_path / "some.tar.gz")
