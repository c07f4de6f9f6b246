from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from training_runs import write_tiny

from manual_backprop import MLP, Adam, Dataset, Momentum, Split, load_dataset, train, training
from manual_backprop.history import DivergenceError
from manual_backprop.layers import cross_entropy
from manual_backprop.networks import CNN
from manual_backprop.training import dropout_rng, epoch_batches, evaluate, train_epochs

EPOCHS = 6


@pytest.fixture
def dataset(tmp_path):
    return load_dataset(write_tiny(tmp_path / "tiny.npz"))


def small_network(dtype=np.float64):
    return MLP.xavier([16, 7, 6, 10], seed=2, dtype=dtype)


def rows_of(batch, count):
    """The numbers of a batch's examples."""
    return np.arange(count)[batch]


def score(mlp, images, labels):
    logits = mlp(images)
    return cross_entropy(logits, labels), (logits.argmax(axis=1) == labels).mean()


def trained_by_hand(mlp, dataset, epochs, batch_size, seed, learning_rate=0.1, momentum=0.9):
    """The assignment's loop, word for word: measure, then v <- momentum v + alpha gradient, w <- w - v."""
    velocity = {name: np.full_like(value, 1e-5) for name, value in mlp.parameters.items()}
    history = []
    for epoch in range(epochs):
        losses, hits, count = [], [], len(dataset.train)
        for batch in epoch_batches(count, batch_size, seed, epoch):
            rows = rows_of(batch, count)
            images, labels = dataset.train.images[rows], dataset.train.labels[rows]
            loss, accuracy = score(mlp, images, labels)
            losses.append(loss * len(rows))
            hits.append(accuracy * len(rows))
            valid = score(mlp, dataset.valid.images, dataset.valid.labels)
            for name, gradient in mlp.backprop(images, labels)[1].items():
                velocity[name] = momentum * velocity[name] + learning_rate * gradient
                mlp.parameters[name] = mlp.parameters[name] - velocity[name]
        history.append((sum(losses) / count, sum(hits) / count, *valid))
    return history


@given(st.integers(1, 200), st.integers(1, 250), st.integers(0, 2**70), st.integers(0, 1000))
def test_the_batches_of_an_epoch_are_a_partition(count, batch_size, seed, epoch):
    batches = [rows_of(batch, count) for batch in epoch_batches(count, batch_size, seed, epoch)]
    assert sorted(np.concatenate(batches)) == list(range(count))
    *full, last = [len(batch) for batch in batches]
    assert set(full) <= {batch_size}
    assert 1 <= last <= batch_size


def test_batches_follow_from_seed_and_epoch_alone():
    def order(seed, epoch):
        return np.concatenate(epoch_batches(100, 10, seed, epoch)).tolist()

    orders = {(seed, epoch): order(seed, epoch) for seed in range(3) for epoch in range(3)}
    np.random.default_rng(0).random(5)  # neither what was drawn before ...
    np.random.seed(7)  # ... nor a global seed matters
    assert orders == {key: order(*key) for key in reversed(orders)}
    assert len({tuple(value) for value in orders.values()}) == len(orders)
    assert all(value != sorted(value) for value in orders.values())


@pytest.mark.parametrize("count", [1, 10])
def test_the_full_batch_is_one_batch_in_order(count):
    for batch_size in (None, count, count + 1):
        (batch,) = epoch_batches(count, batch_size, seed=0, epoch=0)
        assert rows_of(batch, count).tolist() == list(range(count))


# Full batch: row e is measured with the weights before update e. Minibatches: every example is measured with the
# weights of its batch, validation with those of the last batch, before its update. Float64 rounds at 1e-16, and some
# hundred additions in another order stay below 1e-13.
@pytest.mark.parametrize("batch_size", [None, 1, 10, 42, 100])
@pytest.mark.parametrize("parts", [1, 3])
def test_training_is_the_assignments_loop(dataset, monkeypatch, batch_size, parts):
    monkeypatch.setattr("manual_backprop.training.worthwhile_parts", lambda *_: parts)
    mlp, by_hand = small_network(), small_network()
    optimizer = Momentum(mlp.parameters)
    measured = list(train_epochs(mlp, optimizer, dataset, range(EPOCHS), batch_size, seed=4))
    expected = trained_by_hand(by_hand, dataset, EPOCHS, batch_size, seed=4)
    np.testing.assert_allclose(measured, expected, rtol=1e-13)
    for name, value in mlp.parameters.items():
        np.testing.assert_allclose(value, by_hand.parameters[name], rtol=0, atol=1e-13)


def test_the_first_row_shows_the_initial_weights(dataset):
    initial = small_network()
    expected = evaluate(initial, dataset.train) + evaluate(initial, dataset.valid)
    first = next(iter(train_epochs(small_network(), Momentum(initial.parameters), dataset, range(1))))
    np.testing.assert_allclose(first, expected, rtol=1e-14)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("batch_size", "parts"), [(None, 1), (10, 1), (10, 3)])
def test_training_continued_with_later_numbers_is_training_without_a_break(
    dataset, monkeypatch, batch_size, parts, dtype
):
    monkeypatch.setattr("manual_backprop.training.worthwhile_parts", lambda *_: parts)
    mlp = small_network(dtype)
    optimizer = Momentum(mlp.parameters)
    unbroken = list(train_epochs(mlp, optimizer, dataset, range(EPOCHS), batch_size, seed=4))

    first = small_network(dtype)
    before = Momentum(first.parameters)
    measured = list(train_epochs(first, before, dataset, range(2), batch_size, seed=4))
    # all that a checkpoint holds: copies of the weights and of the velocity
    second = MLP({name: value.copy() for name, value in first.parameters.items()})
    after = Momentum(second.parameters)
    after.state["velocity"] = {name: value.copy() for name, value in before.velocity.items()}
    measured += train_epochs(second, after, dataset, range(2, EPOCHS), batch_size, seed=4)

    assert measured == unbroken
    for name, value in mlp.parameters.items():
        np.testing.assert_array_equal(second.parameters[name], value)
        np.testing.assert_array_equal(after.velocity[name], optimizer.velocity[name])


def test_an_epoch_is_done_when_it_is_yielded(dataset):
    mlp = small_network()
    optimizer = Momentum(mlp.parameters)
    epochs = train_epochs(mlp, optimizer, dataset, range(2), 10, seed=4)
    next(epochs)
    other = small_network()
    list(train_epochs(other, Momentum(other.parameters), dataset, range(1), 10, seed=4))
    for name, value in mlp.parameters.items():
        np.testing.assert_array_equal(value, other.parameters[name])


def test_an_empty_validation_set_measures_as_nan(dataset):
    empty = Split(dataset.valid.images[:0], dataset.valid.labels[:0])
    without = Dataset(**vars(dataset) | {"valid": empty})
    history = train(small_network(), without, epochs=2)
    assert np.isnan(history.valid_loss).all()
    assert np.isnan(history.valid_accuracy).all()
    assert np.isfinite(history.train_loss).all()
    assert np.isnan(evaluate(small_network(), empty)).all()


def test_evaluating_measures_the_mean_loss_and_accuracy(dataset):
    mlp = small_network()
    expected = score(mlp, dataset.test.images, dataset.test.labels)
    np.testing.assert_allclose(evaluate(mlp, dataset.test), expected, rtol=1e-14)


def test_train_is_the_loop_with_the_assignments_values(dataset):
    mlp, by_hand = small_network(), small_network()
    history = train(mlp, dataset, epochs=EPOCHS)
    expected = trained_by_hand(by_hand, dataset, EPOCHS, None, seed=0)
    np.testing.assert_allclose([row[:-1] for row in history.rows()], expected, rtol=1e-13)
    assert history.seconds == sorted(history.seconds)
    assert history.train_loss[-1] < history.train_loss[0]


def test_divergence_ends_training_at_its_epoch(dataset):
    with pytest.raises(DivergenceError, match=r"epoch \d+: the learning rate is likely too high"):
        train(small_network(np.float32), dataset, learning_rate=1e30)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
@pytest.mark.parametrize("batch_size", [None, 10])
def test_any_network_is_trained_by_its_own_backprop(dataset, batch_size, dropout):
    sizes = {"features": 16, "classes": 10, "filters": 2, "hidden": 8, "dropout": dropout}
    cnn, by_hand = (CNN.xavier(3, np.float64, **sizes) for _ in range(2))
    measured = list(train_epochs(cnn, Adam(cnn.parameters), dataset, range(3), batch_size, seed=4))
    optimizer, count = Adam(by_hand.parameters), len(dataset.train)
    for epoch, metrics in enumerate(measured):
        rng, losses, hits = dropout_rng(4, epoch), [], []
        for batch in epoch_batches(count, batch_size, 4, epoch):
            x, labels = dataset.train.images[batch], dataset.train.labels[batch]
            validation = score(by_hand, dataset.valid.images, dataset.valid.labels)
            logits, gradients = by_hand.logits_and_gradients(x, labels, by_hand.draw_keep(len(labels), rng))
            losses.append(cross_entropy(logits, labels) * len(labels))
            hits.append((logits.argmax(axis=1) == labels).sum())
            optimizer.step(gradients)
        np.testing.assert_allclose(metrics, (sum(losses) / count, sum(hits) / count, *validation), rtol=1e-13)


@pytest.fixture
def noise():
    """A data set in which there is nothing to learn: validation gets worse soon."""
    rng = np.random.default_rng(0)
    return Dataset.from_arrays(rng.normal(size=(80, 5)), rng.integers(0, 3, 80), valid=0.5)


def test_early_stopping_ends_after_its_patience_with_the_best_weights(noise):
    classes = noise.classes
    mlp = MLP.xavier([5, 20, classes], dtype=np.float64)
    history = train(mlp, noise, epochs=200, batch_size=8, early_stopping=3)
    assert 3 < len(history) < 200
    losses = []
    for epochs in range(1, len(history) + 1):  # the same epochs again, each measured after it
        again = MLP.xavier([5, 20, classes], dtype=np.float64)
        train(again, noise, epochs=epochs, batch_size=8)
        losses.append(evaluate(again, noise.valid).loss)
    assert int(np.argmin(losses)) == len(history) - 1 - 3
    assert evaluate(mlp, noise.valid).loss == pytest.approx(min(losses), rel=1e-12)


def test_early_stopping_keeps_the_running_statistics_of_the_best_weights(rng):
    images = Dataset.from_arrays(rng.integers(0, 256, (60, 16), np.uint8), rng.integers(0, 3, 60), valid=0.5)
    cnn = CNN.xavier(1, np.float64, features=16, classes=3, filters=2, hidden=6)
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "evaluate", lambda *given: seen.append(evaluate(*given)) or seen[-1])
        train(cnn, images, epochs=30, batch_size=6, learning_rate=0.05, early_stopping=2)
    losses = [score.loss for score in seen]
    assert losses[-1] > min(losses)
    assert evaluate(cnn, images.valid).loss == min(losses)


def test_early_stopping_needs_examples_to_validate_with(noise):
    mlp = MLP.xavier([5, noise.classes])
    with pytest.raises(ValueError, match=r"early_stopping 3: needs examples .* dataset.valid is empty"):
        train(mlp, replace(noise, valid=noise.test), early_stopping=3)
    with pytest.raises(ValueError, match="patience of 1 epoch or more, got 0"):
        train(mlp, noise, early_stopping=0)


def test_the_bar_is_shown_only_if_wanted(noise, capsys):
    mlp = MLP.xavier([5, noise.classes])
    train(mlp, noise, epochs=2)
    assert capsys.readouterr() == ("", "")
    train(mlp, noise, epochs=2, progress=True)
    assert "2/2" in capsys.readouterr().err
