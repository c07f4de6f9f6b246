import threading
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from known_problems import FailingImages, blas_threads, exact_problem, gradient_bounds, pixel_problem, roundings

from manual_backprop import MLP, Momentum
from manual_backprop.arrays import to_rows
from manual_backprop.data.datasets import Split
from manual_backprop.data.shuffled_rows import ShuffledRows
from manual_backprop.fast.blocked import BlockedBackprop
from manual_backprop.scores import mean_score


def copied(result):
    training, gradients, validation = result
    return mean_score(training), {name: value.copy() for name, value in gradients.items()}, mean_score(validation)


def assert_same_bits(first, second):
    np.testing.assert_array_equal(first[0], second[0], strict=True)
    np.testing.assert_array_equal(first[2], second[2], strict=True)
    assert all(first[1][name].tobytes() == second[1][name].tobytes() for name in first[1])


@given(
    seed=st.integers(0, 2**32),
    sizes=st.lists(st.integers(1, 10), min_size=2, max_size=5),
    count=st.integers(1, 200),
    valid_count=st.integers(0, 50),
    workers=st.integers(1, 4),
    block_rows=st.none() | st.integers(1, 80),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_scores_and_gradients_are_the_textbook_forms(seed, sizes, count, valid_count, workers, block_rows, dtype):
    rng = np.random.default_rng(seed)
    mlp, train = exact_problem(rng, sizes, count, dtype)
    _, valid = exact_problem(rng, sizes, valid_count, dtype)
    before = {name: value.copy() for name, value in mlp.parameters.items()}
    blocked = BlockedBackprop(mlp, workers, block_rows)
    order = rng.permutation(count)
    for rows in (slice(None), slice(None, None, -2), order[: rng.integers(1, count + 1)], order[:1]):
        batch = Split(train.images[rows], train.labels[rows])
        training, gradients, validation = copied(blocked.backprop(train, rows, valid))
        _, expected = mlp.backprop(batch.images, batch.labels)
        bounds = gradient_bounds(mlp, batch)
        assert list(gradients) == list(expected)
        for name, gradient in gradients.items():
            assert (gradient.shape, gradient.dtype) == (expected[name].shape, dtype)
            assert (np.abs(gradient - expected[name]) <= bounds[name]).all(), name
        for score, split in ((training, batch), (validation, valid)):
            if len(split) == 0:
                assert np.isnan(score).all()
                continue
            logits = mlp(split.images)
            loss, _ = mlp.backprop(split.images, split.labels)
            largest_loss = 2 * np.abs(logits).max() + np.log(sizes[-1])
            assert abs(score.loss - loss) <= roundings(mlp, split) * largest_loss
            assert score.accuracy == (logits.argmax(axis=1) == split.labels).mean()
        np.testing.assert_array_equal(blocked.evaluate(valid), validation)
    for name, value in mlp.parameters.items():
        np.testing.assert_array_equal(value, before[name])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("subset", [False, True])
def test_bits_do_not_depend_on_workers_or_on_earlier_calls(rng, dtype, subset):
    # wide enough to be cut into 16 blocks by its size, and for BLAS to use threads of its own if it were allowed to
    mlp, train = pixel_problem(rng, (784, 300, 10), 3000, dtype)
    _, valid = pixel_problem(rng, (784, 300, 10), 700, dtype)
    rows = rng.permutation(3000)[:2900] if subset else slice(None)
    results = []
    for workers in (1, 2, 3, 5):
        blocked = BlockedBackprop(mlp, workers)
        results += [copied(blocked.backprop(train, rows, valid)) for _ in range(3)]
    for result in results[1:]:
        assert_same_bits(results[0], result)


def test_bits_are_those_of_the_network_s_own_floats(rng, tmp_path):
    mlp, train = pixel_problem(rng, (20, 16, 3), 300)
    train.images.tofile(tmp_path / "images")
    order = rng.permutation(300)
    mapped = ShuffledRows(np.memmap(tmp_path / "images", np.uint8, "r", shape=(300, 20)), order)
    forms = {
        "uint8": Split(train.images[order], train.labels),
        "floats": Split(to_rows(train.images[order], np.float32), train.labels),
        "floats in other order": Split(np.asfortranarray(to_rows(train.images[order], np.float32)), train.labels),
        "more precise floats": Split(to_rows(train.images[order], np.float32).astype(float), train.labels),
        "every other row": Split(np.repeat(train.images[order], 2, axis=0)[::2], train.labels),
        "other order in memory": Split(np.asfortranarray(train.images[order]), train.labels),
        "memory-mapped": Split(mapped, train.labels),
        "read-only": Split(np.frombuffer(train.images[order].tobytes(), np.uint8).reshape(300, 20), train.labels),
    }
    for rows in (slice(None), rng.permutation(300)[:64], np.arange(-5, 10, dtype=np.int32)):
        expected = copied(BlockedBackprop(mlp).backprop(forms["uint8"], rows))
        for split in forms.values():
            assert_same_bits(expected, copied(BlockedBackprop(mlp).backprop(split, rows)))


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.longdouble])
def test_gradients_match_autograd_on_blocks(rng, dtype):
    pytest.importorskip("torch")
    from torch.nn.functional import cross_entropy

    from torch_reference import assert_gradients_match

    mlp, train = pixel_problem(rng, (30, 20, 15, 7), 500)

    def manual(x, labels, **parameters):
        blocked = BlockedBackprop(MLP({name.replace("_", "."): value for name, value in parameters.items()}), 2, 64)
        _, gradients, _ = blocked.backprop(Split(x, labels))
        return {name.replace(".", "_"): value for name, value in gradients.items()}

    def reference(x, labels, **parameters):
        for i in range(mlp.depth):
            x = x.relu() if i > 0 else x
            x = x @ parameters[f"layers_{i}_weight"] + parameters[f"layers_{i}_bias"]
        return cross_entropy(x, labels)

    inputs = {name.replace(".", "_"): value.astype(dtype) for name, value in mlp.parameters.items()}
    inputs |= {"x": to_rows(train.images, dtype), "labels": train.labels}
    assert_gradients_match(manual, reference, inputs)


def test_training_makes_no_arrays_that_grow_with_the_examples(rng):
    mlp, train = pixel_problem(rng, (784, 300, 10), 4000)
    optimizer = Momentum(mlp.parameters)
    blocked = BlockedBackprop(mlp, workers=2)
    order = rng.permutation(4000)

    def growth(rows):
        blocked.backprop(train, rows, train)
        optimizer.step(blocked.backprop(train, rows, train)[1])
        tracemalloc.start()
        for _ in range(3):
            optimizer.step(blocked.backprop(train, rows, train)[1])
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak

    for rows in (slice(None), order, order[:128]):
        # NumPy casts by way of buffers of 8192 entries, up to 128 KiB for two workers; 128 rows of floats are 400 kB,
        # the weights 900 kB
        assert growth(rows) < 200_000


def test_first_call_takes_memory_for_blocks_only(rng):
    def peak(count):
        mlp, train = pixel_problem(rng, (50, 20, 10), count)
        tracemalloc.start()
        BlockedBackprop(mlp, workers=1).backprop(train)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak

    # 28,000 images are 1.4 MB as uint8, 5.6 MB as floats; what may differ are results of 16 more blocks
    assert abs(peak(32_000) - peak(4000)) < 50_000


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize("good", [0, 10, 150, 290])
@pytest.mark.parametrize("error", [OSError("the disk is gone"), KeyboardInterrupt(), MemoryError()])
def test_errors_of_any_block_reach_the_caller_and_leave_everything_usable(rng, workers, good, error):
    mlp, train = pixel_problem(rng, (20, 16, 3), 300)
    blocked = BlockedBackprop(mlp, workers, block_rows=10)
    expected = copied(blocked.backprop(train))
    threads = blas_threads()
    failing = Split(FailingImages(train.images, good, error), train.labels)
    for call in (lambda: blocked.backprop(failing), lambda: blocked.backprop(train, valid=failing)):
        with pytest.raises(type(error)):
            call()
        assert blas_threads() == threads
        assert_same_bits(expected, copied(blocked.backprop(train)))


def test_runs_from_other_threads_side_by_side(rng):
    mlp, train = pixel_problem(rng, (50, 40, 5), 400)
    expected = copied(BlockedBackprop(mlp).backprop(train))
    threads, results = blas_threads(), []

    def run():
        blocked = BlockedBackprop(mlp, 2, block_rows=None)
        results.extend(copied(blocked.backprop(train)) for _ in range(20))

    users = [threading.Thread(target=run) for _ in range(3)]
    for user in users:
        user.start()
    for user in users:
        user.join()
    assert len(results) == 60
    for result in results:
        assert_same_bits(expected, result)
    assert blas_threads() == threads


@pytest.mark.parametrize(
    ("images", "labels", "rows", "message"),
    [
        (np.zeros((2, 5)), np.zeros(2, int), slice(None), r"images: expected \(N, 4\), got \(2, 5\)"),
        (np.zeros(4), np.zeros(1, int), slice(None), r"images: expected \(N, 4\), got \(4,\)"),
        (np.zeros((2, 4)), np.zeros(3, int), slice(None), r"labels: expected integers \(2,\), got int64 \(3,\)"),
        (np.zeros((2, 4)), np.zeros(2), slice(None), r"labels: expected integers \(2,\), got float64 \(2,\)"),
        (np.zeros((2, 4)), np.zeros((2, 3), int), slice(None), r"labels: expected integers \(2,\), got int64 \(2, 3\)"),
        (np.zeros((2, 4)), np.array([0, 3]), slice(None), r"labels: 3 is outside 0\.\.2"),
        (np.zeros((2, 4)), np.array([0, -1]), slice(None), r"labels: -1 is outside 0\.\.2"),
        (np.zeros((0, 4)), np.zeros(0, int), slice(None), "batch: expected at least one example, got none"),
        (np.zeros((2, 4)), np.zeros(2, int), np.zeros(0, int), "batch: expected at least one example, got none"),
        (np.zeros((2, 4)), np.zeros(2, int), np.array([0, 2]), "index 2 is out of bounds"),
    ],
)
def test_refuses_what_does_not_fit(images, labels, rows, message):
    with pytest.raises((ValueError, IndexError), match=message):
        BlockedBackprop(MLP.xavier([4, 3])).backprop(Split(images, labels), rows)


def test_overflow_shows_in_the_loss_and_not_in_warnings(rng):
    mlp, train = pixel_problem(rng, (20, 16, 3), 300)
    for value in mlp.parameters.values():
        value *= 1e38
    for block_rows in (50, 300):  # on threads, and by the caller
        training, _, validation = copied(BlockedBackprop(mlp, 2, block_rows).backprop(train, valid=train))
        assert not np.isfinite(training.loss)
        np.testing.assert_array_equal(training, validation)


@pytest.mark.parametrize("sizes", [(6, 9, 3), (6, 9, 8, 3)])
@pytest.mark.parametrize("block_rows", [None, 7])
def test_units_are_dropped_as_in_the_textbook_form(rng, sizes, block_rows):
    mlp, train = exact_problem(rng, sizes, 40, np.float64)
    mlp.dropout = 0.25
    rows = rng.permutation(40)[:30]
    keep = mlp.draw_keep(30, rng)
    training, gradients, _ = BlockedBackprop(mlp, 2, block_rows).backprop(train, rows, None, keep)
    loss, expected = mlp.backprop(train.images[rows], train.labels[rows], keep)
    # sums of at most 40 numbers of a few units, in another order
    assert mean_score(training).loss == pytest.approx(loss, rel=1e-13)
    for name, gradient in gradients.items():
        np.testing.assert_allclose(gradient, expected[name], rtol=0, atol=1e-12)
