"""Feed `load_dataset` with mutated files: each must load rightly or be refused in one line, soon and in little memory.

A case fails on an exception other than ValueError and OSError, a message that is not one line or does not name the
source, a dataset that breaks its promises, one that differs from the original although a checksum covers it, more than
10 seconds, or more than 1 GiB of memory. Case number i depends on the seed and i alone: `--first i --count 1`
repeats it. Needs Linux, for its limit of memory and its clock.

    python scripts/fuzz_loaders.py --count 20000
"""

import argparse
import resource
import signal
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from types import FrameType

import numpy as np
from mutated_sources import CHECKSUMMED, IMAGES, KINDS, LABELS, Files, mutated_source
from tqdm import tqdm

from manual_backprop.data import reading
from manual_backprop.data.datasets import Dataset, load_dataset

SECONDS = 10
MEMORY = 2**30


class TookTooLongError(BaseException):
    """Not an Exception, so that no reader can take it for a broken file."""


def stop(_signal: int, _frame: FrameType | None) -> None:
    """Interrupt a case whose time is up."""
    raise TookTooLongError


def main() -> int:
    """Run the cases and print a table; return 1 if any failed, 2 for wrong options, 130 if interrupted."""
    parser = argparse.ArgumentParser(description="Load mutated data files; each must load rightly or be refused.")
    parser.add_argument("--count", type=int, default=20_000, help="number of cases (%(default)s)")
    parser.add_argument("--first", type=int, default=0, help="number of the first case (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the mutations (%(default)s)")
    arguments = parser.parse_args()
    if min(arguments.count, arguments.first, arguments.seed) < 0:
        print("error: --count, --first and --seed must not be negative", file=sys.stderr)
        return 2
    try:
        return run(range(arguments.first, arguments.first + arguments.count), arguments.seed)
    except KeyboardInterrupt:
        return 130


def run(cases: range, seed: int) -> int:
    """Run the cases, print a table and return 1 if any failed."""
    signal.signal(signal.SIGALRM, stop)
    limit_memory()
    outcomes: Counter[tuple[str, str]] = Counter()
    slowest, failures = 0.0, 0
    begin = time.perf_counter()
    for case in tqdm(cases, disable=None):
        kind = KINDS[case % len(KINDS)]
        files = mutated_source(kind, np.random.default_rng([seed, case]))
        with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
            source = write(Path(folder), files)
            start = time.perf_counter()
            try:
                outcomes[kind, outcome(kind, source)] += 1
            except (Exception, TookTooLongError) as error:
                failures += 1
                print(f"case {case}, {kind}: {type(error).__name__}: {error}")
            slowest = max(slowest, time.perf_counter() - start)

    print(f"{'kind':20}{'refused':>9}{'loaded':>9}{'with images left out':>22}")
    for kind in [*KINDS, "all"]:
        counts = [sum(outcomes[k, o] for k in KINDS if kind in (k, "all")) for o in ("refused", "loaded", "left out")]
        print(f"{kind:20}{counts[0]:9,}{counts[1]:9,}{counts[2]:22,}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{len(cases):,} cases, {failures} failures, {time.perf_counter() - begin:.0f} s, "
        f"the slowest {slowest:.3f} s, peak memory {peak:.0f} MiB"
    )
    return 1 if failures else 0


def limit_memory() -> None:
    """Let the process claim 1 GiB more than now, whether it uses it or not."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limit = pages * resource.getpagesize() + MEMORY
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def write(folder: Path, files: Files) -> Path:
    """Write the files of a source and return its path."""
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    return folder if len(files) > 1 else folder / next(iter(files))


def outcome(kind: str, source: Path) -> str:
    """Load the source and say what came of it, or raise where that is a failure."""
    reading.MAPPED_ABOVE = 0 if "mapped" in kind else 2**28
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        signal.setitimer(signal.ITIMER_REAL, SECONDS)
        try:
            dataset = load_dataset(source, seed=0)
        except (ValueError, OSError) as error:
            check_message(str(error), source)
            demand(not isinstance(error.__cause__, MemoryError), f"asked for more than {MEMORY:,} bytes")
            return "refused"
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    for warning in caught:
        check_message(str(warning.message), source)
    check_dataset(dataset)
    if kind in CHECKSUMMED:
        demand(pixels_and_labels(dataset) == ORIGINAL, "loaded, but not as it was before the mutation")
    return "left out" if caught else "loaded"


def demand(condition: object, otherwise: str) -> None:
    """Fail the case with a message unless the condition holds."""
    if not condition:
        raise AssertionError(otherwise)


def check_message(message: str, source: Path) -> None:
    """Demand one line that names the source."""
    demand(message.isprintable(), f"not one printable line: {message!r}")
    demand(str(source) in message, f"does not name the source: {message}")


def check_dataset(dataset: Dataset) -> None:
    """Demand what `load_dataset` promises of every dataset."""
    for split in (dataset.train, dataset.valid, dataset.test):
        images = np.asarray(split.images)
        demand(images.shape == (len(split), dataset.features), f"images of shape {images.shape}")
        demand(images.dtype == np.uint8 or ((images >= 0) & (images <= 1)).all(), "pixels outside [0, 1]")
        demand(split.labels.dtype == np.int64, f"labels of dtype {split.labels.dtype}")
        demand(((split.labels >= 0) & (split.labels < dataset.classes)).all(), "labels that are no classes")
    demand(len(dataset.train) > 0, "nothing to train on")
    demand(dataset.source.isprintable(), f"not one printable line: {dataset.source!r}")


def pixels_and_labels(dataset: Dataset) -> list[tuple[bytes, int]]:
    """Return all images with their labels, sorted, since PNG files are in another order than the rest."""
    splits = (dataset.train, dataset.valid, dataset.test)
    pairs = [pair for split in splits for pair in zip(np.asarray(split.images), split.labels, strict=True)]
    return sorted((image.tobytes(), int(label)) for image, label in pairs)


ORIGINAL = sorted((image.tobytes(), int(label)) for image, label in zip(IMAGES, LABELS, strict=True))

if __name__ == "__main__":
    sys.exit(main())
