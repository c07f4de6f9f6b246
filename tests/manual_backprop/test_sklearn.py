"""scikit-learn's own checks of an estimator, and what they do not cover."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="needs scikit-learn: pip install '.[sklearn]'")
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from manual_backprop import MLP
from manual_backprop.sklearn import BackpropClassifier

CHECKS = """
import json
from sklearn.utils.estimator_checks import check_estimator
from manual_backprop.sklearn import BackpropClassifier
results = check_estimator(BackpropClassifier(early_stopping={}), on_fail=None, on_skip=None)
print(json.dumps([(each["check_name"], each["status"], str(each["exception"])) for each in results]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("early_stopping", [False, True])
def test_every_check_of_scikit_learn_passes_and_none_is_skipped(early_stopping):
    pytest.importorskip("pandas", reason="one of scikit-learn's checks needs pandas")
    done = subprocess.run(
        [sys.executable, "-c", CHECKS.format(early_stopping)],
        env=os.environ | {"SCIPY_ARRAY_API": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout.splitlines()[-1])
    assert len(results) > 50
    assert [each for each in results if each[1] != "passed"] == []
    print("\n".join(name for name, _, _ in results))  # shown by -s


@pytest.fixture(scope="module")
def digits():
    images, labels = load_digits(return_X_y=True)
    return images[:400] / 16, labels[:400]


def test_the_names_defaults_and_meanings_are_those_of_mlpclassifier():
    ours, theirs = BackpropClassifier().get_params(), MLPClassifier().get_params()
    assert ours.items() <= theirs.items()


def test_it_works_in_a_pipeline_a_grid_and_cross_validation(digits):
    pipeline = make_pipeline(
        StandardScaler(), BackpropClassifier((16,), learning_rate_init=0.01, max_iter=40, random_state=0)
    )
    assert cross_val_score(pipeline, *digits, cv=2).mean() > 0.8
    grid = GridSearchCV(BackpropClassifier(max_iter=20, random_state=0), {"hidden_layer_sizes": [(2,), (32,)]}, cv=2)
    assert grid.fit(*digits).best_params_ == {"hidden_layer_sizes": (32,)}


def test_labels_of_any_kind_come_back(digits):
    images, labels = digits
    names = np.array([f"digit {label}" for label in range(10)])[labels]
    classifier = BackpropClassifier(max_iter=20, random_state=0).fit(images, names)
    assert set(classifier.predict(images)) == set(names)
    np.testing.assert_allclose(classifier.predict_proba(images).sum(axis=1), 1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_it_computes_in_the_precision_of_the_examples(digits, dtype):
    images, labels = digits
    classifier = BackpropClassifier(max_iter=2, random_state=0).fit(images.astype(dtype), labels)
    assert isinstance(classifier.network_, MLP)
    assert classifier.network_.dtype == dtype
    assert classifier.predict_proba(images.astype(dtype)).dtype == dtype


def test_a_seed_repeats_a_fit(digits):
    first, second, other = (
        BackpropClassifier(max_iter=3, random_state=seed).fit(*digits).predict_proba(digits[0]) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, second)
    assert not np.array_equal(first, other)


def test_early_stopping_keeps_the_weights_with_the_least_validation_loss(digits):
    images, labels = digits
    labels = np.random.default_rng(0).permutation(labels)  # nothing to learn: validation gets worse soon
    classifier = BackpropClassifier(
        early_stopping=True, learning_rate_init=0.01, max_iter=100, n_iter_no_change=5, random_state=0
    ).fit(images, labels)
    losses = classifier.validation_losses_
    assert classifier.n_iter_ == len(losses) == len(classifier.loss_curve_) < 100
    assert min(losses) < losses[-1]
    # the held-out examples are the first of the permutation that the random state gives
    random = np.random.RandomState(0)
    random.randint(2**31)
    held_out = random.permutation(len(images))[:40]
    chosen = classifier.predict_proba(images[held_out])[np.arange(40), labels[held_out]]
    assert -np.log(chosen).mean() == pytest.approx(min(losses), rel=1e-9)


def test_without_early_stopping_it_ends_where_the_training_loss_stands_still(digits):
    classifier = BackpropClassifier(learning_rate_init=1e-9, n_iter_no_change=3, max_iter=100, random_state=0)
    assert classifier.fit(*digits).n_iter_ == 4
    assert classifier.validation_losses_ == []


def test_alpha_shrinks_the_weights_but_not_the_biases(digits):
    norms = []
    for alpha in (0.0, 100.0):
        network = (
            BackpropClassifier((8,), alpha=alpha, learning_rate_init=0.01, max_iter=30, random_state=0)
            .fit(*digits)
            .network_
        )
        norms.append(np.linalg.norm(network.parameters["layers.0.weight"]))
    assert norms[1] < 0.5 * norms[0]


def test_holding_out_everything_is_refused(digits):
    with pytest.raises(ValueError, match=r"validation_fraction=1\.0 of 400 samples leaves none to train"):
        BackpropClassifier(early_stopping=True, validation_fraction=1.0).fit(*digits)


def test_verbose_prints_the_losses(digits, capsys):
    BackpropClassifier(max_iter=2, verbose=True, random_state=0).fit(*digits)
    assert capsys.readouterr().out.startswith("Iteration 1, loss = 2.")
