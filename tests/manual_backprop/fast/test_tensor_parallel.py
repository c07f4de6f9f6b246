import threading
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from known_problems import FailingImages, blas_threads, exact_problem, gradient_bounds, pixel_problem, roundings
from threadpoolctl import threadpool_limits

from manual_backprop import MLP, Adam, Momentum
from manual_backprop.arrays import to_rows
from manual_backprop.data.datasets import Split
from manual_backprop.data.shuffled_rows import ShuffledRows
from manual_backprop.fast.tensor_parallel import TensorParallel, worthwhile_parts
from manual_backprop.fast.workers import Workers
from manual_backprop.scores import mean_score


def trained(mlp, split, batches, parts, **settings):
    """A copy of the network after these batches, its velocity, and the scores."""
    copy = MLP({name: value.copy() for name, value in mlp.parameters.items()})
    optimizer = Momentum(copy.parameters, **settings)
    scores = TensorParallel(copy, optimizer, max(map(len, batches)), parts).train(split, batches)
    return copy.parameters, optimizer.velocity, scores


def bits(arrays):
    return {name: value.tobytes() for name, value in arrays.items()}


@given(
    seed=st.integers(0, 2**32),
    sizes=st.lists(st.integers(4, 10), min_size=3, max_size=5),
    count=st.integers(1, 60),
    parts=st.integers(1, 4),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_scores_and_gradients_are_the_textbook_forms(seed, sizes, count, parts, dtype):
    rng = np.random.default_rng(seed)
    mlp, split = exact_problem(rng, sizes, 60, dtype)
    rows = rng.permutation(60)[:count]
    batch = Split(split.images[rows], split.labels[rows])
    # from rest, with momentum 0 and learning rate 1, the velocity is the gradient
    parameters, velocity, scores = trained(
        mlp, split, [rows], parts, learning_rate=1.0, momentum=0.0, initial_velocity=0.0
    )
    loss, expected = mlp.backprop(batch.images, batch.labels)
    bounds = gradient_bounds(mlp, batch)
    for name, gradient in velocity.items():
        assert (gradient.shape, gradient.dtype) == (expected[name].shape, dtype)
        assert (np.abs(gradient - expected[name]) <= bounds[name]).all(), name
        np.testing.assert_array_equal(parameters[name], mlp.parameters[name] - gradient)
    score, logits = mean_score(scores), mlp(batch.images)
    assert sum(part.examples for part in scores) == count
    largest_loss = 2 * np.abs(logits).max() + np.log(sizes[-1])
    assert abs(score.loss - loss) <= roundings(mlp, batch) * largest_loss
    assert score.accuracy == (logits.argmax(axis=1) == batch.labels).mean()


@pytest.mark.parametrize("hidden", [(7,), (7, 5), (6, 9, 5)])
@pytest.mark.parametrize("parts", [1, 2, 3, 5])
def test_many_updates_are_those_of_the_formula_one_after_the_other(rng, hidden, parts):
    mlp, split = pixel_problem(rng, (20, *hidden, 4), 90, np.float64)
    order = rng.permutation(90)
    batches = [order[:32], order[32:64], order[64:], order[:1], order[1:33], order[40:44]]
    parameters, velocity, scores = trained(mlp, split, batches, parts)
    optimizer, total = Momentum(mlp.parameters), 0.0
    for rows in batches:
        loss, gradients = mlp.backprop(split.images[rows], split.labels[rows])
        optimizer.step(gradients)
        total += loss * len(rows)
    # six updates, each of some hundred additions in another order, rounded at 1e-16
    assert sum(score.loss for score in scores) == pytest.approx(total, rel=1e-13)
    for name, value in mlp.parameters.items():
        np.testing.assert_allclose(parameters[name], value, rtol=0, atol=1e-13)
        np.testing.assert_allclose(velocity[name], optimizer.velocity[name], rtol=0, atol=1e-13)


@pytest.mark.parametrize("parts", [1, 3])
def test_the_steps_of_adam_are_counted(rng, parts):
    mlp, split = pixel_problem(rng, (20, 7, 4), 90, np.float64)
    copy = MLP({name: value.copy() for name, value in mlp.parameters.items()})
    mine, expected = Adam(copy.parameters, 0.01), Adam(mlp.parameters, 0.01)
    batches = np.split(rng.permutation(90), 3)
    TensorParallel(copy, mine, 30, parts).train(split, batches)
    for rows in batches:
        expected.step(mlp.backprop(split.images[rows], split.labels[rows])[1])
    assert mine.steps == expected.steps
    for name, value in copy.parameters.items():
        # a wrong count moves an entry by about the learning rate; a gradient near 0 has few digits that agree
        np.testing.assert_allclose(value, mlp.parameters[name], atol=1e-6)


def test_training_goes_on_from_whatever_the_network_and_its_optimizer_hold(rng):
    mlp, split = pixel_problem(rng, (20, 8, 4), 60)
    batches = [np.arange(start, start + 10) for start in range(0, 60, 10)]
    expected = trained(mlp, split, batches, 2)
    optimizer = Momentum(mlp.parameters)
    parallel = TensorParallel(mlp, optimizer, 10, 2)
    assert parallel.train(split, []) == []
    scores = parallel.train(split, batches[:1])
    for batch in batches[1:]:
        optimizer.state["velocity"] = {name: value.copy() for name, value in optimizer.velocity.items()}
        scores += parallel.train(split, [batch])
    assert bits(mlp.parameters) == bits(expected[0])
    assert bits(optimizer.velocity) == bits(expected[1])
    # the scores come worker by worker
    assert sorted(scores) == sorted(expected[2])


@pytest.mark.parametrize("hidden", [(7,), (8, 5), (6, 9, 5)])
def test_bits_do_not_depend_on_who_is_faster(rng, monkeypatch, hidden):
    mlp, split = pixel_problem(rng, (20, *hidden, 4), 200)
    batches = [rng.permutation(200)[: rng.integers(3, 40)] for _ in range(40)]
    expected = trained(mlp, split, batches, 3)
    meet, pauses, lock = Workers.meet, rng.choice([0, 0, 0.002], 100_000).tolist(), threading.Lock()

    def late(workers):
        for wait in (meet, lambda _: None):  # come late, and go on late
            with lock:
                pause = pauses.pop()
            time.sleep(pause)
            wait(workers)

    monkeypatch.setattr(Workers, "meet", late)
    for _ in range(2):
        again = trained(mlp, split, batches, 3)
        assert bits(again[0]) == bits(expected[0])
        assert bits(again[1]) == bits(expected[1])
        assert again[2] == expected[2]


def test_bits_are_those_of_the_network_s_own_floats(rng, tmp_path):
    mlp, train = pixel_problem(rng, (20, 16, 3), 300)
    train.images.tofile(tmp_path / "images")
    order = rng.permutation(300)
    mapped = ShuffledRows(np.memmap(tmp_path / "images", np.uint8, "r", shape=(300, 20)), order)
    images = train.images[order]
    forms = [
        to_rows(images, np.float32),
        np.asfortranarray(to_rows(images, np.float32)),
        to_rows(images, np.float32).astype(float),
        np.repeat(images, 2, axis=0)[::2],
        np.asfortranarray(images),
        mapped,
        np.frombuffer(images.tobytes(), np.uint8).reshape(300, 20),
    ]
    batches = [rng.permutation(300)[:64], np.arange(-5, 10, dtype=np.int32)]
    expected = trained(mlp, Split(images, train.labels), batches, 2)
    for form in forms:
        assert bits(trained(mlp, Split(form, train.labels), batches, 2)[0]) == bits(expected[0])


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("error", [OSError("the disk is gone"), KeyboardInterrupt(), MemoryError()])
def test_an_error_reaches_the_caller_and_changes_nothing(rng, parts, error):
    mlp, split = pixel_problem(rng, (20, 16, 12, 3), 300)
    optimizer = Momentum(mlp.parameters)
    parallel = TensorParallel(mlp, optimizer, 30, parts)
    batches = [np.arange(start, start + 30) for start in range(0, 300, 30)]
    before, threads = (bits(mlp.parameters), bits(optimizer.velocity)), blas_threads()

    class FailingLater(FailingImages):
        def __getitem__(self, rows):
            if rows.max() >= self.good:
                raise self.error
            return self.images[rows]

    for good in (0, 10, 150, 295):
        with pytest.raises(type(error)):
            parallel.train(Split(FailingLater(split.images, good, error), split.labels), batches)
        assert (bits(mlp.parameters), bits(optimizer.velocity)) == before
        assert blas_threads() == threads
    expected = trained(mlp, split, batches, parts)
    parallel.train(split, batches)
    assert bits(mlp.parameters) == bits(expected[0])


@pytest.mark.parametrize(
    ("images", "labels", "rows", "message"),
    [
        (np.zeros((2, 5)), np.zeros(2, int), [0], r"images: expected \(N, 4\), got \(2, 5\)"),
        (np.zeros((2, 4)), np.zeros(2), [0], r"labels: expected integers \(2,\), got float64 \(2,\)"),
        (np.zeros((2, 4)), np.array([0, 3]), [0], r"labels: 3 is outside 0\.\.2"),
        (np.zeros((2, 4)), np.zeros(2, int), [0, 2], "index 2 is out of bounds"),
    ],
)
def test_refuses_what_does_not_fit(images, labels, rows, message):
    mlp = MLP.xavier([4, 6, 3])
    before = bits(mlp.parameters)
    with pytest.raises((ValueError, IndexError), match=message):
        TensorParallel(mlp, Momentum(mlp.parameters), 2, 2).train(Split(images, labels), [np.array(rows)])
    assert bits(mlp.parameters) == before


def test_updates_make_no_arrays(rng):
    mlp, split = pixel_problem(rng, (784, 300, 10), 1280)
    parallel = TensorParallel(mlp, Momentum(mlp.parameters), 128, 2)
    batches = list(rng.permutation(1280).reshape(10, 128))
    parallel.train(split, batches)
    tracemalloc.start()
    parallel.train(split, batches)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # NumPy casts by way of buffers of 8192 entries, up to 128 KiB for two workers; a batch of floats has 400 kB, the
    # weights 900 kB
    assert peak < 200_000


def test_overflow_shows_in_the_loss_and_not_in_warnings(rng):
    mlp, split = pixel_problem(rng, (20, 16, 3), 300)
    for value in mlp.parameters.values():
        value *= 1e38
    _, _, scores = trained(mlp, split, [np.arange(64), np.arange(64, 128)], 2)
    assert not np.isfinite(mean_score(scores).loss)


@pytest.mark.parametrize(
    ("sizes", "batch_size", "threads", "parts"),
    [
        ((784, 1000, 10), 128, 2, 2),
        ((784, 1000, 10), 128, 1, 1),
        ((784, 1000, 10), 128, 16, 6),  # 795,010 weights
        ((784, 1000, 10), 1001, 2, 1),  # a large batch goes by blocks of rows
        ((784, 100, 10), 128, 2, 1),  # too small a network
        ((784, 1000, 1, 10), 128, 2, 1),  # a unit can't be shared
        ((784, 1000), 128, 2, 1),  # no hidden units
    ],
)
def test_parts_follow_from_the_sizes_and_the_machine(sizes, batch_size, threads, parts):
    with threadpool_limits(threads, user_api="blas"):
        assert worthwhile_parts(MLP.xavier(sizes), batch_size) == parts
