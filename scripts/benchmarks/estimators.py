"""Time `BackpropClassifier` beside scikit-learn's `MLPClassifier`: the same network, batches, optimizer and epochs.

Both train in turn, several rounds; the ratio is taken within a round and its median reported. Prints a table.
"""

import argparse
import statistics
import sys
import time
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

from manual_backprop import load_dataset
from manual_backprop.sklearn import BackpropClassifier

CASES = {
    "digits, 64-100-10, batches of 200": ("digits", (100,), 200, 50),
    "letters, 784-1000-10, batches of 200": ("glyphs", (1000,), 200, 2),
    "letters, 784-1000-10, full batch": ("glyphs", (1000,), 10_000, 2),
}
"""The data, the hidden units, the batch, the epochs."""


def arrays(source: str) -> tuple[Any, Any]:
    """Return images in [0, 1] and labels."""
    if source == "digits":
        images, labels = load_digits(return_X_y=True)
        return images / 16, labels
    train = load_dataset(source).train
    return np.asarray(train.images) / 255, train.labels


def seconds(estimator: Any, images: Any, labels: Any) -> float:
    """Return how long it takes to fit."""
    start = time.perf_counter()
    estimator.fit(images, labels)
    return time.perf_counter() - start


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="default: 5")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore", ConvergenceWarning)
    print("| case | dtype | this project, ms an epoch | MLPClassifier | ratio | accuracy, this | MLPClassifier |")
    print("|---|---|---|---|---|---|---|")
    for title, (source, hidden, batch_size, epochs) in CASES.items():
        images, labels = arrays(source)
        for dtype in (np.float32, np.float64):
            rows = images.astype(dtype)
            settings: dict[str, Any] = {
                "hidden_layer_sizes": hidden,
                "batch_size": batch_size,
                "max_iter": epochs,
                "n_iter_no_change": epochs,
                "random_state": 0,
            }
            estimators = [BackpropClassifier(**settings), MLPClassifier(**settings)]
            times = [[seconds(one, rows, labels) for one in estimators] for _ in range(options.rounds)]
            ours, theirs = (1000 * statistics.median(column) / epochs for column in zip(*times, strict=True))
            ratio = statistics.median(theirs / ours for ours, theirs in times)
            scores = [f"{one.score(rows, labels):.3f}" for one in estimators]
            print(
                f"| {title} | {np.dtype(dtype)} | {ours:.1f} | {theirs:.1f} | {ratio:.2f} | {' | '.join(scores)} |",
                flush=True,
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
