"""The fast form of the convolutional network, beside its textbook form."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manual_backprop import Adam, AdamW, Dataset, Momentum, Split
from manual_backprop.engines import GradientDescent, Textbook
from manual_backprop.fast import channel_parallel
from manual_backprop.fast.channel_parallel import ChannelParallel, image_side
from manual_backprop.networks import CNN


def some_images(rng, count, side):
    return Split(rng.integers(0, 256, (count, side * side), np.uint8), rng.integers(0, 3, count))


def some_dataset(rng, train, valid, side):
    splits = (some_images(rng, count, side) for count in (train, valid, 0))
    return Dataset(*splits, "random", ("A", "B", "C"), (side, side))


def some_cnn(seed, side, filters, dropout=0.0, dtype=np.float64):
    cnn = CNN.xavier(seed, dtype, features=side * side, classes=3, filters=filters, hidden=7, dropout=dropout)
    rng = np.random.default_rng(seed)
    for name, value in cnn.parameters.items():  # weights of normalisation of either sign, biases that are not 0
        value += rng.normal(0, 1.0 if name == "normalization.weight" else 0.3, value.shape).astype(dtype)
    return cnn


OPTIMIZERS = {
    "momentum": lambda parameters: Momentum(parameters, 0.01),
    "adam": lambda parameters: Adam(parameters, 1e-3, weight_decay=0.1),
    "adamw": lambda parameters: AdamW(parameters, 1e-3),
}


@settings(max_examples=25)
@given(
    seed=st.integers(0, 2**32),
    side=st.sampled_from([2, 4, 6, 10]),
    filters=st.integers(1, 5),
    workers=st.integers(1, 3),
    batch_size=st.integers(1, 9),
    dropout=st.sampled_from([0.0, 0.5]),
    optimizer=st.sampled_from(sorted(OPTIMIZERS)),
)
def test_epochs_are_those_of_the_textbook_form(seed, side, filters, workers, batch_size, dropout, optimizer):
    rng = np.random.default_rng(seed)
    dataset = some_dataset(rng, 20, 7, side)
    fast, textbook = (some_cnn(seed, side, filters, dropout) for _ in range(2))
    engines = (
        ChannelParallel(fast, OPTIMIZERS[optimizer](fast.parameters), batch_size, workers),
        GradientDescent(textbook, update := OPTIMIZERS[optimizer](textbook.parameters), Textbook(textbook)),
    )
    order = rng.permutation(20)
    batches = [order[start : start + batch_size] for start in range(0, 20, batch_size)]
    for epoch in range(2):
        here, there = (engine.epoch(dataset, batches, np.random.default_rng(epoch)) for engine in engines)
        # float64 rounds at 1e-16; a variance over a handful of pixels may be small and make some of it larger
        np.testing.assert_allclose(here, there, rtol=1e-9)
    assert update.steps == 2 * len(batches)
    for name, value in {**fast.parameters, **fast.buffers}.items():
        np.testing.assert_allclose(value, {**textbook.parameters, **textbook.buffers}[name], rtol=0, atol=1e-9)


@pytest.mark.parametrize("weight", [[1.5, -0.5, 0.7, -2.0], [0.0, 1.0, -0.0, -1.0]])
def test_one_update_moves_along_the_textbook_s_gradient(rng, weight):
    split = some_images(rng, 12, 6)
    cnn, textbook = some_cnn(3, 6, 4), some_cnn(3, 6, 4)
    for each in (cnn, textbook):  # where the weight is 0 all pixels of a window are equally large, and the first counts
        each.parameters["normalization.weight"][:] = weight
    _, expected = textbook.backprop(split.images, split.labels)
    before = {name: value.copy() for name, value in cnn.parameters.items()}
    # from rest, with momentum 0 and learning rate 1, an update is the gradient
    optimizer = Momentum(cnn.parameters, learning_rate=1.0, momentum=0.0, initial_velocity=0.0)
    ChannelParallel(cnn, optimizer, 12, 2).epoch(
        Dataset(split, split, split, "", ("A", "B", "C"), (6, 6)), [slice(None)], rng
    )
    for name, gradient in expected.items():
        largest = np.abs(gradient).max()
        np.testing.assert_allclose(optimizer.velocity[name], gradient, rtol=0, atol=1e-13 * max(1, largest))
        np.testing.assert_allclose(before[name] - cnn.parameters[name], gradient, rtol=0, atol=1e-13 * max(1, largest))


def test_scores_are_those_of_prediction_and_change_nothing(rng, monkeypatch):
    monkeypatch.setattr(channel_parallel, "EVALUATION_ROWS", 5)
    split, cnn = some_images(rng, 23, 6), some_cnn(3, 6, 4)
    before = {name: value.copy() for name, value in {**cnn.parameters, **cnn.buffers}.items()}
    sums = ChannelParallel(cnn, Momentum(cnn.parameters), 1, 2).sums(split)
    expected = Textbook(cnn).sums(split)
    assert sum(part.examples for part in sums) == 23
    assert sum(part.correct for part in sums) == sum(part.correct for part in expected)
    assert sum(part.loss for part in sums) == pytest.approx(sum(part.loss for part in expected), rel=1e-12)
    for name, value in {**cnn.parameters, **cnn.buffers}.items():
        np.testing.assert_array_equal(value, before[name])


def test_one_number_of_workers_gives_one_outcome(rng):
    dataset = some_dataset(rng, 40, 10, 8)
    outcomes = []
    for _ in range(3):
        cnn = some_cnn(1, 8, 6, dropout=0.25, dtype=np.float32)
        engine = ChannelParallel(cnn, Adam(cnn.parameters), 8, 2)
        batches = [np.arange(start, start + 8) for start in range(0, 40, 8)]
        scores = engine.epoch(dataset, batches, np.random.default_rng(2))
        outcomes.append((scores, [value.tobytes() for value in cnn.parameters.values()]))
    assert outcomes[0] == outcomes[1] == outcomes[2]


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_an_error_in_the_middle_leaves_the_weights_of_the_epoch_before(rng, monkeypatch, error):
    dataset = some_dataset(rng, 24, 6, 6)
    cnn = some_cnn(3, 6, 4)
    optimizer = Adam(cnn.parameters)
    engine = ChannelParallel(cnn, optimizer, 8, 2)
    batches = [slice(0, 8), slice(8, 16), slice(16, 24)]
    engine.epoch(dataset, batches, rng)

    def held():
        arrays = [cnn.parameters, cnn.buffers, *optimizer.state.values()]
        return optimizer.steps, [value.tobytes() for each in arrays for value in each.values()]

    before, update, calls = held(), optimizer.update, []

    def failing(name, *rest):
        calls.append(name)
        if len(calls) == 12:  # in the second of two batches of six parameters and more
            raise error
        update(name, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(optimizer, "update", failing)
        with pytest.raises(error):
            engine.epoch(dataset, batches, rng)
    assert held() == before
    engine.epoch(dataset, batches, rng)
    assert held() != before


def test_memory_does_not_grow_with_the_images(rng):
    cnn = some_cnn(1, 8, 6)
    engine = ChannelParallel(cnn, Adam(cnn.parameters), 8, 2)

    def peak(count):
        dataset = some_dataset(rng, count, count, 8)
        batches = [slice(start, start + 8) for start in range(0, count, 8)]
        engine.epoch(dataset, batches[:2], rng)
        tracemalloc.start()
        engine.epoch(dataset, batches, rng)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak

    # 2,400 more images of 64 bytes would be 1.2 MB as floats; what may grow are 300 scores and labels
    assert peak(2_560) - peak(160) < 300_000


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((4, 9)), np.zeros(4, int), r"images: expected \(N, 16\), got \(4, 9\)"),
        (np.zeros((4, 16)), np.array([0, 1, 2, 3]), r"labels: 3 is outside 0\.\.2"),
    ],
)
def test_refuses_what_does_not_fit(rng, images, labels, message):
    cnn = some_cnn(1, 4, 2)
    split = Split(images, labels)
    engine = ChannelParallel(cnn, Momentum(cnn.parameters), 4)
    with pytest.raises(ValueError, match=message):
        engine.epoch(Dataset(split, split, split, "", ("A", "B", "C"), (4, 4)), [slice(None)], rng)


@pytest.mark.parametrize("side", [2, 4, 28])
def test_the_side_of_images_follows_from_the_weights(side):
    assert image_side(some_cnn(0, side, 3)) == side
