import gzip
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from data_files import some_examples, write_idx_pair
from hypothesis import given
from hypothesis import strategies as st

from manual_backprop import MLP, Dataset, train
from manual_backprop.data import datasets, reading
from manual_backprop.data.datasets import load_dataset, shuffled, split_sizes
from manual_backprop.data.reading import DataError
from manual_backprop.data.shuffled_rows import ShuffledRows


def course_order(count):
    """The order of the course's loadData, spelled out: the legacy generator's shuffle is Fisher and Yates's."""
    bits = np.random.RandomState(521)
    order = list(range(count))
    for last in range(count - 1, 0, -1):
        mask = 2 ** last.bit_length() - 1
        while (chosen := int(bits.randint(0, 2**32, dtype=np.uint32)) & mask) > last:
            pass
        order[last], order[chosen] = order[chosen], order[last]
    return order


@pytest.fixture
def numbered(tmp_path):
    """A source of 100 images of one pixel, each its own number."""
    numbers = np.arange(100, dtype=np.uint8)
    np.savez(tmp_path / "numbered.npz", images=numbers[:, None], labels=numbers % 10)
    return tmp_path / "numbered.npz"


def images_of(dataset):
    return np.concatenate([np.asarray(split.images) for split in (dataset.train, dataset.valid, dataset.test)])


def labels_of(dataset):
    return np.concatenate([split.labels for split in (dataset.train, dataset.valid, dataset.test)])


def test_the_order_is_the_course_s(numbered):
    assert images_of(load_dataset(numbered))[:, 0].tolist() == course_order(100)


def test_real_images_are_split_as_the_course_splits_them(real_images):
    dataset = load_dataset(real_images, split=(8000, 1500, 500))
    content = (real_images / "t10k-images-idx3-ubyte.gz", real_images / "t10k-labels-idx1-ubyte.gz")
    images = np.frombuffer(gzip.decompress(content[0].read_bytes()), np.uint8, offset=16).reshape(-1, 784)
    labels = np.frombuffer(gzip.decompress(content[1].read_bytes()), np.uint8, offset=8)
    order = course_order(10_000)
    for split, part in ((dataset.train, order[:8000]), (dataset.valid, order[8000:9500]), (dataset.test, order[9500:])):
        assert type(split.images) is np.ndarray
        assert split.images.dtype == np.uint8
        assert split.labels.dtype == np.int64
        np.testing.assert_array_equal(split.images, images[part])
        np.testing.assert_array_equal(split.labels, labels[part])
    assert (dataset.features, dataset.classes, dataset.image_shape) == (784, 10, (28, 28))


@given(train=st.integers(1, 100), valid=st.integers(0, 100), test=st.integers(0, 100), seed=st.integers(0, 2**32 - 1))
def test_the_splits_share_no_example(numbered_once, train, valid, test, seed):
    if train + valid + test > 100:
        with pytest.raises(ValueError, match=f"asks for {train + valid + test} examples: expected at most 100"):
            load_dataset(numbered_once, split=(train, valid, test), seed=seed)
        return
    dataset = load_dataset(numbered_once, split=(train, valid, test), seed=seed)
    numbers = images_of(dataset)[:, 0]
    assert (len(dataset.train), len(dataset.valid), len(dataset.test)) == (train, valid, test)
    assert len(set(numbers.tolist())) == train + valid + test
    np.testing.assert_array_equal(labels_of(dataset), numbers % 10)
    assert dataset.valid.images.shape == (valid, 1)


@pytest.fixture(scope="module")
def numbered_once(tmp_path_factory):
    numbers = np.arange(100, dtype=np.uint8)
    path = tmp_path_factory.mktemp("numbered") / "numbered.npz"
    np.savez(path, images=numbers[:, None], labels=numbers % 10)
    return path


def test_the_seed_changes_the_order_and_nothing_else(numbered):
    first, again, other = (images_of(load_dataset(numbered, seed=seed))[:, 0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    np.testing.assert_array_equal(np.sort(first), np.sort(other))


@pytest.mark.parametrize(
    ("count", "sizes"),
    [
        (2, (1, 0, 1)),
        (10, (7, 2, 1)),
        (19, (13, 3, 3)),
        (15_999, (11_199, 3_199, 1_601)),
        (16_000, (10_000, 6_000, 0)),
        (18_724, (10_000, 6_000, 2_724)),
    ],
)
def test_default_split(count, sizes):
    assert split_sizes(count) == sizes


@given(st.integers(2, 10**9))
def test_the_default_split_uses_every_example(count):
    assert sum(split_sizes(count)) == count


@pytest.mark.parametrize(
    ("count", "split", "message"),
    [
        (10, (11, 0, 0), "split 11 0 0 asks for 11 examples: expected at most 10, all there are"),
        (10, (8, 2, 1), "split 8 2 1 asks for 11 examples"),
        (10, (0, 5, 5), "split 0 5 5 of 10 examples: expected at least 1 to train on"),
        (10, (5, -1, 5), "split 5 -1 5 of 10 examples"),
        (10, (5, 1, -5), "and none below 0"),
        (1, None, "split 0 0 1 of 1 examples"),
        (10, (5, 5), r"split \(5, 5\): expected three sizes: train, valid, test"),
    ],
)
def test_an_impossible_split_is_refused_with_the_numbers(count, split, message):
    with pytest.raises(ValueError, match=message):
        split_sizes(count, split)


def test_a_mapped_file_gives_the_same_rows_as_one_in_memory(tmp_path, rng, monkeypatch):
    path = write_idx_pair(tmp_path, *some_examples(rng))
    in_memory = load_dataset(path)
    monkeypatch.setattr(reading, "MAPPED_ABOVE", 0)
    mapped = load_dataset(path)
    assert isinstance(mapped.train.images, ShuffledRows)
    assert type(mapped.train.images[0]) is type(mapped.train.images[:2]) is np.ndarray
    assert type(in_memory.train.images) is np.ndarray
    np.testing.assert_array_equal(images_of(mapped), images_of(in_memory))
    np.testing.assert_array_equal(labels_of(mapped), labels_of(in_memory))


LOAD = """
import resource, sys
from manual_backprop.data.datasets import load_dataset
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
dataset = load_dataset(sys.argv[1])
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(type(dataset.train.images).__name__, len(dataset.train.images), dataset.train.images[:3].sum(), after - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is in kilobytes on Linux only")
def test_a_large_file_stays_on_disk(tmp_path):
    count = 2**30 // 784
    with (tmp_path / "big-images-idx3-ubyte").open("wb") as file:
        file.write(bytes([0, 0, 8, 3]) + count.to_bytes(4, "big") + bytes([0, 0, 0, 28] * 2))
        file.truncate(16 + count * 784)  # a gibibyte that takes no room on the disk
    (tmp_path / "big-labels-idx1-ubyte").write_bytes(bytes([0, 0, 8, 1]) + count.to_bytes(4, "big") + bytes(count))
    root = Path(__file__).parents[3]
    command = [sys.executable, "-c", LOAD, str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=True, cwd=root)
    kind, rows, total, kilobytes = result.stdout.split()
    assert (kind, int(rows), int(total)) == ("ShuffledRows", 10_000, 0)
    # labels and order, 1,369,568 of 8 bytes each with a few copies while they are checked: 100 MiB, not 1024
    assert int(kilobytes) < 100 * 1024


def test_too_little_memory_is_one_line(numbered, monkeypatch):
    def fail(*_):
        raise MemoryError

    monkeypatch.setattr(datasets, "read_source", fail)
    with pytest.raises(DataError, match=r"numbered\.npz: more than fits in memory; expected less, or uncompressed IDX"):
        load_dataset(numbered)


def test_own_arrays_are_shuffled_and_split_and_stay_as_they_are(rng):
    images, labels = rng.integers(0, 256, (50, 4, 6), dtype=np.uint8), np.arange(50) % 3
    before = images.copy(), labels.copy()
    dataset = Dataset.from_arrays(images, labels, valid=0.2, test=0.1, seed=3)
    assert [len(split) for split in (dataset.train, dataset.valid, dataset.test)] == [35, 10, 5]
    assert (dataset.features, dataset.classes, dataset.image_shape) == (24, 3, (4, 6))
    order = np.arange(50)
    np.random.RandomState(3).shuffle(order)
    np.testing.assert_array_equal(images_of(dataset), images.reshape(50, 24)[order])
    np.testing.assert_array_equal(labels_of(dataset), labels[order])
    dataset.train.images[:] = 0
    np.testing.assert_array_equal(images, before[0])
    np.testing.assert_array_equal(labels, before[1])


@pytest.mark.parametrize(
    ("features", "image_shape", "dtype"),
    [
        (np.arange(40.0).reshape(10, 4), None, np.float64),
        (np.arange(40, dtype=np.float32).reshape(10, 4) - 20, None, np.float32),
        (np.arange(40).reshape(10, 4).tolist(), None, np.float64),
        (np.zeros((10, 4), bool), None, np.float64),
        (np.zeros((10, 4), np.uint8), (2, 2), np.uint8),
        (np.zeros((10, 3), np.uint8), None, np.uint8),
        (np.zeros((10, 2, 3, 1)), (2, 3), np.float64),
    ],
)
def test_own_features_need_not_be_images(features, image_shape, dtype):
    dataset = Dataset.from_arrays(features, [0, 1] * 5)
    assert (dataset.image_shape, dataset.train.images.dtype, dataset.classes) == (image_shape, dtype, 2)
    assert (len(dataset.train), len(dataset.valid), len(dataset.test)) == (8, 2, 0)
    assert np.isfinite(train(MLP.xavier([dataset.features, 3, 2]), dataset, epochs=2).train_loss).all()


@pytest.mark.parametrize(
    ("images", "labels", "parts", "words"),
    [
        (np.zeros(4), [0, 1, 0, 1], {}, "images: expected (N, F) or (N, height, width), none of them 0, got (4,)"),
        (np.zeros((0, 4)), [], {}, "none of them 0, got (0, 4)"),
        (np.array([["a"], ["b"]]), [0, 1], {}, "images: expected numbers, got <U1"),
        (np.array([[1.0], [np.nan]]), [0, 1], {}, "images: expected finite numbers"),
        (np.zeros((2, 1)), [0, 1, 0], {}, "labels: expected integers (2,), got int64 (3,)"),
        (np.zeros((2, 1)), [0.0, 1.0], {}, "labels: expected integers (2,), got float64 (2,)"),
        (np.zeros((2, 1)), [0, -1], {}, "labels: expected classes counted from 0, fewer than examples, got -1"),
        (np.zeros((2, 1)), [0, 10**9], {}, "fewer than examples, got 1000000000"),
        (np.zeros((2, 1)), [0, 1], {"valid": 0.5, "test": 0.5}, "valid 0.5, test 0.5: expected parts of 1"),
        (np.zeros((2, 1)), [0, 1], {"valid": float("nan")}, "expected parts of 1"),
        (np.zeros((1, 1)), [0], {"valid": 0.9}, "1 examples: none is left to train on"),
    ],
)
def test_own_arrays_that_do_not_fit_are_refused(images, labels, parts, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        Dataset.from_arrays(images, labels, **parts)


@given(
    count=st.integers(1, 30), features=st.integers(1, 30), memory=st.integers(0, 300), order=st.sampled_from(["C", "F"])
)
def test_shuffling_in_place_is_shuffling(count, features, memory, order):
    images = np.arange(count * features).reshape(count, features).astype(np.float32, order=order)
    permutation = np.random.default_rng(memory).permutation(count)
    expected = images[permutation]
    assert shuffled(images, permutation, memory) is images
    np.testing.assert_array_equal(images, expected)


def test_reading_and_shuffling_make_no_second_copy_of_the_images(tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.shuffled, "__defaults__", (2**20,))
    path = tmp_path / "many.npz"
    np.savez_compressed(path, images=np.zeros((20_000, 784), np.uint8), labels=np.arange(20_000) % 10)
    tracemalloc.start()
    load_dataset(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # 15.7 MB of images; pieces of 1 MiB while reading and shuffling, a few arrays of 8 bytes for each label
    assert peak < 20_000 * 784 + 4e6
