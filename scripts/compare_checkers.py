"""Compare this project's gradient check with the usual ones, over the planted faults and right gradients of the tests.

For each check: how many wrong gradients it finds, how many right ones it accuses, how many it names by their cause, and
the smallest relative error of one random entry that it finds in 95 of 100 trials. gradcheck wraps the gradient in a
torch.autograd.Function and differentiates the loss numerically; the others compare with autograd's gradient.
"""

import argparse
import re
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "helpers"))
import checked_layers
import faults
import wrong_derivations
from benchmarks import function_checkers

from torch_reference import crosscheck

DTYPES = {"float64": np.float64, "float32": np.float32}
DECADES = 10.0 ** -np.arange(1, 15)
FOUND = 0.95


def autograd(layer: Any, inputs: Mapping[str, Any], names: Sequence[str]) -> dict[str, torch.Tensor]:
    """Return PyTorch's gradients in the inputs' own precision."""
    tensors = {name: torch.from_numpy(np.array(value)) for name, value in inputs.items()}
    for name in names:
        tensors[name].requires_grad_()
    found = torch.autograd.grad(layer.reference(**tensors), [tensors[name] for name in names], allow_unused=True)
    return {
        name: torch.zeros_like(tensors[name]) if value is None else value
        for name, value in zip(names, found, strict=True)
    }


def gradcheck(layer: Any, inputs: Mapping[str, Any]) -> bool:
    """Say whether torch.autograd.gradcheck, with its defaults, accepts the gradient."""
    names = list(layer.manual(**{name: np.array(value) for name, value in inputs.items()}))
    constants = {name: value for name, value in inputs.items() if name not in names}

    class Loss(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, *values: torch.Tensor) -> torch.Tensor:
            ctx.save_for_backward(*values)
            fixed = {name: torch.from_numpy(np.array(value)) for name, value in constants.items()}
            return layer.reference(**dict(zip(names, values, strict=True)), **fixed)

        @staticmethod
        def backward(ctx: Any, *upstream: torch.Tensor) -> Any:
            arrays = {name: value.detach().numpy().copy() for name, value in zip(names, ctx.saved_tensors, strict=True)}
            gradients = layer.manual(**arrays, **{name: np.array(value) for name, value in constants.items()})
            return tuple(torch.from_numpy(np.array(gradients[name])) * upstream[0] for name in names)

    values = [torch.from_numpy(np.array(inputs[name])).requires_grad_() for name in names]
    try:
        return bool(torch.autograd.gradcheck(Loss.apply, values))
    except Exception:
        return False


def compared(same: Callable[[Any, torch.Tensor], Any]) -> Callable[[Any, Mapping[str, Any]], bool]:
    """Return a check that compares each gradient with autograd's."""

    def check(layer: Any, inputs: Mapping[str, Any]) -> bool:
        manual = layer.manual(**{name: np.array(value) for name, value in inputs.items()})
        reference = autograd(layer, inputs, list(manual))
        try:
            return all(same(np.asarray(value), reference[name]) for name, value in manual.items())
        except (AssertionError, ValueError):
            return False

    return check


def close(manual: Any, reference: torch.Tensor) -> bool:
    """Apply torch.testing.assert_close, which raises."""
    torch.testing.assert_close(torch.from_numpy(np.array(manual)), reference)
    return True


def relative_error(manual: Any, reference: torch.Tensor) -> bool:
    """Apply CS231n's rule: the largest relative error of an entry is below 1e-7."""
    other = reference.numpy()
    return bool((np.abs(manual - other) / np.maximum(1e-8, np.abs(manual) + np.abs(other))).max(initial=0.0) < 1e-7)


def ours(layer: Any, inputs: Mapping[str, Any]) -> bool:
    """Apply this project's check."""
    return crosscheck(layer.manual, layer.reference, inputs).ok


CHECKS: dict[str, Callable[[Any, Mapping[str, Any]], bool]] = {
    "torch.autograd.gradcheck": gradcheck,
    "torch.testing.assert_close": compared(close),
    "numpy.allclose": compared(lambda manual, reference: np.allclose(manual, reference.numpy())),
    "CS231n relative error < 1e-7": compared(relative_error),
    "crosscheck": ours,
}


class OneEntry(checked_layers.Dense):  # type: ignore[misc]
    """The right gradient of a 784-64-10 network at N = 128, but for one entry."""

    size = (128, 784, 64, 10)

    def __init__(self, relative: float, seed: int) -> None:
        self.relative, self.seed = relative, seed

    def manual(self, **inputs: Any) -> dict[str, Any]:
        """Return the gradients of weights and biases, one random entry of them off."""
        gradients: dict[str, Any] = super().manual(**inputs)
        del gradients["x"]
        places = [(name, *index) for name, value in gradients.items() for index in np.argwhere(value)]
        name, *index = places[np.random.default_rng(self.seed).integers(len(places))]
        gradients[name][tuple(index)] *= 1 + self.relative
        return gradients


def smallest_found(check: Callable[..., bool], dtype: Any, trials: int, bar: tqdm) -> str:
    """Return the smallest power of ten that is found in 95 of 100 trials, by bisection: what is larger is found too."""
    found, missed = -1, len(DECADES)
    while missed - found > 1:
        middle = (found + missed) // 2
        misses = 0
        for seed in range(trials):
            layer = OneEntry(float(DECADES[middle]), seed)
            misses += check(layer, layer.inputs(np.random.default_rng(seed), dtype))
            bar.update()
            if misses > (1 - FOUND) * trials:
                break
        found, missed = (found, middle) if misses > (1 - FOUND) * trials else (middle, missed)
    return "none" if found < 0 else f"{DECADES[found]:.0e}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, default=3, help="random inputs for each gradient (default: 3)")
    parser.add_argument(
        "--trials", type=int, default=20, help="trials for each size of error; 0 skips them (default: 20)"
    )
    parser.add_argument(
        "--right", type=int, metavar="SEED", help="draw right functions, which none may accuse, instead"
    )
    parser.add_argument("--functions", action="store_true", help="compare the checks of PyTorch functions instead")
    options = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    np.seterr(all="ignore")
    if options.right is not None:
        accused, number = function_checkers.right_draws(options.right)
        print(*accused, f"{len(accused)} of {number} draws of right functions accused", sep="\n")
        return 0
    if options.functions:
        show(function_checkers.compare())
        return 0
    rows = [
        (
            "check",
            "wrong found",
            "right accused",
            "named",
            "step named",
            *[f"smallest error, {name}" for name in DTYPES],
        )
    ]
    with tqdm(delay=1, disable=None, leave=False, unit=" checks") as bar:
        for title, check in CHECKS.items():
            bar.set_description(title)
            steps = steps_named(bar) if check is ours else "no"
            rows.append(
                (title, *counts(check, options.seeds, bar), steps, *smallest(title, check, options.trials, bar))
            )
    show(rows)
    wrong, right = len(faults.FAULTS) * options.seeds, len(faults.RIGHT) * options.seeds
    print(f"{wrong} wrong and {right} right gradients in float64; one entry wrong: {options.trials} trials")
    return 0


def show(rows: Sequence[tuple[str, ...]]) -> None:
    """Print a table."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def steps_named(bar: tqdm) -> str:
    """Return the share of the wrong derivations whose line and operation the check names."""
    cases = [(mistake, *case) for mistake in wrong_derivations.MISTAKES for case in mistake.cases()]
    named = 0
    for mistake, _, manual, reference, pattern in cases:
        report = crosscheck(manual, reference, mistake.layer().inputs(np.random.default_rng(0)))
        first = [gradient.message.split(" Or: ")[0] for gradient in report.gradients.values()]
        named += any(re.search(pattern, message) for message in first)
        bar.update()
    return f"{named / len(cases):.1%}"


def counts(check: Callable[..., bool], seeds: int, bar: tqdm) -> tuple[str, str, str]:
    """Return the shares of wrong gradients found, right ones accused and wrong ones named."""
    found = accused = named = 0
    for seed in range(seeds):
        for fault in faults.FAULTS:
            layer = fault.build()
            inputs = layer.inputs(np.random.default_rng(seed), np.float64)
            if check is ours:
                report = crosscheck(layer.manual, layer.reference, inputs)
                found += not report.ok
                named += report.gradients[fault.gradient].code == fault.code
            else:
                found += not check(layer, inputs)
            bar.update()
        for layer in faults.RIGHT:
            accused += not check(layer, layer.inputs(np.random.default_rng(seed), np.float64))
            bar.update()
    wrong, right = len(faults.FAULTS) * seeds, len(faults.RIGHT) * seeds
    return f"{found / wrong:.1%}", f"{accused / right:.1%}", f"{named / wrong:.1%}" if check is ours else "no"


def smallest(title: str, check: Callable[..., bool], trials: int, bar: tqdm) -> tuple[str, ...]:
    """Return the smallest error found in each precision; gradcheck would take hours for 50,000 entries."""
    if not trials or title == "torch.autograd.gradcheck":
        return tuple("-" for _ in DTYPES)
    return tuple(smallest_found(check, dtype, trials, bar) for dtype in DTYPES.values())


if __name__ == "__main__":
    sys.exit(main())
