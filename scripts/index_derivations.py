"""Write the index of the derivations: what is derived where, how often it was proven, which mistakes the check found.

Every layer is checked against autograd on fresh draws, in float32 and float64, and every mistake of the pages is tried.
"""

import argparse
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "helpers"))

from derivations import PAGES, examined, layer_of, mistakes, quotes, verdicts  # noqa: E402 (found there)
from layer_table import CASES  # noqa: E402

from manual_backprop import layers  # noqa: E402

INTRODUCTION = """# Derivations

From the definition of each layer to the lines of its backward, by sums and the chain rule; then the usual mistakes, and
what the check says of them. A test compares every quotation with the source and runs every mistake. The order is one to
read in: each page needs only those above it. `python scripts/index_derivations.py` writes this page.

Proven: on so many random draws of inputs and upstream gradients the gradients agree with autograd to rounding; the
number leads to the tests, which draw many more, with all options of a layer. Mistakes: the wrong lines on the page that
the check finds. Time: that of a forward and backward pass in float32 on one core, PyTorch's eager one
being 1, as `python scripts/benchmark.py --network layers` measured it; first the textbook form, then the trainers' fast
form where there is one, together with the layers named beside it.

| layer | derived | code | float32 | float64 | mistakes | textbook form | fast form |
|---|---|---|---|---|---|---|---|
"""
ORDER = (
    *("mlp", "activations", "losses", "normalization", "convolution", "pooling"),
    *("regularization", "tokens", "attention", "recurrent"),
)
"""The pages, those first that others build on."""


def main(arguments: list[str] | None = None) -> int:
    """Check everything and write the page; return 1 if a layer or a mistake was judged wrongly."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--draws", type=int, default=100, help="of each layer and precision (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "derivations" / "README.md", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)

    found = [
        (layer_of(mistake), not verdicts(mistake).ok) for mistake in tqdm(mistakes(), unit="mistake", disable=None)
    ]
    measured = json.loads((ROOT / "docs" / "benchmark.json").read_text(encoding="utf-8"))["layers, float32"]
    lines, failed = [], not all(noticed for _, noticed in found)
    for page, layer in tqdm(list(derived()), unit="layer", disable=None):
        agreed = [agreements(layer, dtype, options.draws) for dtype in (np.float32, np.float64)]
        failed |= min(agreed) < options.draws
        tried = [noticed for mistaken, noticed in found if mistaken == layer]
        file = getattr(layers, layer).__module__.rpartition(".")[2]
        code = f"[{file}.py](../../manual_backprop/layers/{file}.py)"
        proven = " | ".join(f"[{count} of {options.draws}]({tests_of(layer, file)})" for count in agreed)
        lines.append(
            f"| `{layer}` | [{page}.md]({page}.md) | {code} | {proven} | {sum(tried)} of {len(tried)} "
            f"| {' | '.join(times(layer, measured))} |\n"
        )
    options.out.write_text(INTRODUCTION + "".join(lines), encoding="utf-8")
    return 1 if failed else 0


def derived() -> Iterable[tuple[str, str]]:
    """Yield page and layer of every derivation, in the order of reading."""
    for page in sorted(PAGES, key=lambda path: ORDER.index(path.stem) if path.stem in ORDER else len(ORDER)):
        functions = dict.fromkeys(function for _, function, _ in quotes(page))
        for layer in (function.removesuffix("_backward") for function in functions if function.endswith("_backward")):
            if layer in CASES:
                yield page.stem, layer


def tests_of(layer: str, file: str) -> str:
    """Return the path of a layer's tests: those of the assignment's functions stand together."""
    folder = Path("tests/manual_backprop/layers")
    own = ROOT / folder / f"test_{file}.py"
    has_own = own.exists() and re.search(rf"\b{layer}\b", own.read_text(encoding="utf-8"))
    return f"../../{folder.as_posix()}/{own.name if has_own else 'test_layers.py'}"


def times(layer: str, measured: Mapping[str, Any]) -> tuple[str, str]:
    """Return the times of the textbook form and of the fast forms, PyTorch's = 1."""
    fast = [
        f"{row['of_pytorch']:.2f}{together(layer, row['layers'])} "
        f"([{row['file']}](../../manual_backprop/fast/{row['file']}))"
        for row in measured.values()
        if layer in row.get("layers", ())
    ]
    return f"{measured[layer]['of_pytorch']:.2f}", "; ".join(fast)


def together(layer: str, layers: Sequence[str]) -> str:
    """Return with which other layers a fast form takes one."""
    others = [f"`{other}`" for other in layers if other != layer]
    return f" with {', '.join(others)}" if others else ""


def agreements(layer: str, dtype: Any, draws: int) -> int:
    """Return on how many draws all gradients of a layer agree with autograd."""
    backward = getattr(layers, f"{layer}_backward")
    return sum(examined(layer, backward, seed, dtype).ok for seed in range(draws))


if __name__ == "__main__":
    sys.exit(main())
