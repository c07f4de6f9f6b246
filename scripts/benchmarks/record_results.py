"""Measure the README's results again: the assignment's training, on rendered letters and on real images."""

import argparse
import json
import sys
from pathlib import Path
from statistics import median

from tqdm import tqdm

from manual_backprop import MLP, load_dataset, train
from manual_backprop.storage.files import replacing
from manual_backprop.training import evaluate

Run = tuple[str, str, tuple[int, int, int] | None]


def main(arguments: list[str] | None = None) -> int:
    """Train every row several times, print the medians and record all of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--real", metavar="SOURCE", help="real notMNIST images, 10,000 at least (default: left out)")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each row (default: %(default)s)")
    parser.add_argument("--epochs", type=int, default=200, help="(default: %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("docs/results.json"), help="(default: %(default)s)")
    options = parser.parse_args(arguments)

    runs: list[Run] = [("rendered letters, 10,000 / 6,000 / 2,724", "glyphs", None)]
    if options.real:
        runs += [
            ("real letters, 10,000 / none", options.real, (10_000, 0, 0)),
            ("real letters, 8,000 / 2,000", options.real, (8_000, 2_000, 0)),
        ]
    recorded: dict[str, list[dict[str, float]]] = {}
    with tqdm(total=len(runs) * options.seeds, unit="run", disable=None) as bar:
        for label, source, split in runs:
            recorded[label] = []
            for seed in range(options.seeds):
                recorded[label].append(measure(source, split, seed, options.epochs))
                bar.update()
    with replacing(options.out) as temporary:
        temporary.write_text(json.dumps(recorded, indent=2) + "\n")
    names = list(recorded[runs[0][0]][0])
    print(f"{'median of ' + str(options.seeds):44}" + "".join(f"{name:>16}" for name in names))
    for label, rows in recorded.items():
        print(f"{label:44}" + "".join(f"{median(row[name] for row in rows):16.4f}" for name in names))
    return 0


def measure(source: str, split: tuple[int, int, int] | None, seed: int, epochs: int) -> dict[str, float]:
    """Train the assignment's network; return the last epoch's metrics, as in Table 1, and those of the test set."""
    dataset = load_dataset(source, split)
    mlp = MLP.xavier([dataset.features, 1000, dataset.classes], seed)
    history = train(mlp, dataset, epochs=epochs, seed=seed)
    test_loss, test_accuracy = evaluate(mlp, dataset.test)
    return {
        "train accuracy": history.train_accuracy[-1],
        "valid accuracy": history.valid_accuracy[-1],
        "test accuracy": test_accuracy,
        "train loss": history.train_loss[-1],
        "valid loss": history.valid_loss[-1],
        "test loss": test_loss,
    }


if __name__ == "__main__":
    sys.exit(main())
