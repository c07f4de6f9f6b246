"""Check hand-derived gradients against autograd: this project's network, or the functions in a file of one's own.

A file defines ``inputs(rng)``, ``manual(**inputs)`` and ``reference(**inputs)``; docs/examples/softmax_regression.py is
one. Exit status 0: everything matches; 1: something does not; 2: it could not run.
"""

import argparse
import contextlib
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm


class UnusableError(Exception):
    """The check cannot run; the text is for the user."""


class Check:
    """One crosscheck to run.

    Parameters
    ----------
    title : str
        Stands before the names of the gradients; may be empty.
    manual, reference : callable
        As `crosscheck` takes them.
    inputs : mapping
        The arrays.
    """

    def __init__(
        self, title: str, manual: Callable[..., Any], reference: Callable[..., Any], inputs: Mapping[str, Any]
    ) -> None:
        self.title, self.manual, self.reference, self.inputs = title, manual, reference, inputs


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the checks that the command line asks for and return the exit status."""
    options = make_parser().parse_args(arguments)
    try:
        return run(options)
    except UnusableError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description="Check hand-derived gradients against PyTorch's autograd.")
    parser.add_argument(
        "file",
        nargs="?",
        type=Path,
        help="defines inputs(rng), manual(**inputs) and reference(**inputs); without it this project is checked",
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the random inputs and of the check (default: 0)")
    parser.add_argument("--json", action="store_true", help="print the report as JSON instead of a table")
    parser.add_argument("--plot", type=Path, metavar="PATH", help="draw every wrong gradient beside the right one")
    return parser


def run(options: argparse.Namespace) -> int:
    """Check, print, and draw."""
    if options.seed < 0:
        raise UnusableError(f"--seed: expected a number from 0, got {options.seed}")
    try:
        from torch_reference import Report, crosscheck
    except ImportError:
        raise UnusableError('the check needs this project and PyTorch installed: pip install ".[torch]"') from None
    rng = np.random.default_rng(options.seed)
    gradients = {}
    note = ""
    with contextlib.redirect_stdout(sys.stderr):  # what a user's functions print must not end up in the JSON
        for check in progress(own_file(options.file, rng) if options.file else own_network(options.seed)):
            try:
                report = crosscheck(check.manual, check.reference, check.inputs, seed=options.seed)
            except Exception as error:
                raise UnusableError(explain(error, options.file)) from error
            for name, gradient in report.gradients.items():
                title = f"{check.title} {name}" if check.title else name
                gradients[title] = replace(gradient, name=title)
            note = report.note if options.file else note
    report = Report(gradients, note)
    print(json.dumps(report.to_dict(), indent=2) if options.json else report)
    if options.plot:
        draw(report, options.plot)
    return 0 if report.ok else 1


def draw(report: Any, path: Path) -> None:
    """Draw the wrong gradients; write nothing if that fails."""
    if report.ok:
        print(f"every gradient is right: {path} is not drawn", file=sys.stderr)
        return
    part = path.with_name(f".part-{os.getpid()}-{path.name}")
    try:
        report.plot(part)
        part.replace(path)
    except (OSError, ValueError) as error:
        part.unlink(missing_ok=True)
        raise UnusableError(f"--plot {path}: {getattr(error, 'strerror', None) or error}") from error


def progress(checks: Sequence[Check]) -> Iterator[Check]:
    """Yield the checks; count evaluations of the reference on a terminal where it takes longer than a second."""
    with tqdm(desc="checking", unit=" evaluations", delay=1, disable=None, leave=False) as bar:
        for check in checks:

            def counted(check: Check = check, **inputs: Any) -> Any:
                bar.update()
                return check.reference(**inputs)

            bar.set_postfix_str(check.title)
            yield Check(check.title, check.manual, counted, check.inputs)


def own_file(path: Path, rng: np.random.Generator) -> list[Check]:
    """Return the check that a user's file defines."""
    functions: dict[str, Any] = {"__name__": path.stem, "__file__": str(path)}
    sys.path.insert(0, str(path.resolve().parent))
    try:
        exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), functions)  # noqa: S102 (the user's own code)
    except (OSError, UnicodeDecodeError) as error:
        raise UnusableError(f"{path}: {getattr(error, 'strerror', None) or 'no UTF-8 text'}") from error
    except SyntaxError as error:
        raise UnusableError(f"{path}, line {error.lineno}: {error.msg}") from error
    except (Exception, SystemExit) as error:
        raise UnusableError(explain(error, path)) from error
    missing = [name for name in ("inputs", "manual", "reference") if not callable(functions.get(name))]
    if missing:
        raise UnusableError(f"{path}: no function {' and no function '.join(missing)}")
    try:
        inputs = functions["inputs"](rng)
    except Exception as error:
        raise UnusableError(explain(error, path)) from error
    if not isinstance(inputs, Mapping):
        raise UnusableError(f"{path}: inputs must return a dict of arrays, but it returned {type(inputs).__name__}")
    return [Check("", functions["manual"], functions["reference"], inputs)]


def explain(error: BaseException, path: Path | None) -> str:
    """Say in one line what went wrong, and where in the user's file."""
    text = " ".join(str(error).split()) or "no message"
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if path and frame.filename == str(path)]
    if frames:
        return f"{path}, line {frames[-1].lineno}, in {frames[-1].name}: {type(error).__name__}: {text}"
    known = isinstance(error, TypeError | ValueError)
    return f"{path}: {text}" if known and path else f"{type(error).__name__}: {text}"


def own_network(seed: int) -> list[Check]:
    """Return checks of every hand-derived function of this project and of its network, in both precisions."""
    import torch
    from torch.nn.functional import cross_entropy

    from manual_backprop import MLP, layers
    from torch_reference import ReferenceMLP

    def linear(x: Any, weight: Any, bias: Any, upstream: Any) -> dict[str, Any]:
        del bias
        return dict(zip(("x", "weight", "bias"), layers.linear_backward(upstream, x, weight), strict=True))

    checks = []
    for dtype in (np.float64, np.float32):
        rng = np.random.default_rng(seed)

        def draw(*shape: int, rng: np.random.Generator = rng, dtype: Any = dtype) -> Any:
            return rng.standard_normal(shape).astype(dtype)

        labels = rng.integers(0, 10, 32)
        precision = np.dtype(dtype).name
        checks += [
            Check(f"linear {precision}", linear, lambda x, weight, bias, upstream: ((x @ weight + bias) *
            upstream).sum(),
                  {"x": draw(32, 20), "weight": draw(20, 12), "bias": draw(12), "upstream": draw(32, 12)}),
            Check(f"relu {precision}", lambda x, upstream: {"x": layers.relu_backward(upstream, x)},
                  lambda x, upstream: (torch.relu(x) * upstream).sum(), {"x": draw(32, 12), "upstream": draw(32, 12)}),
            Check(f"cross_entropy {precision}", lambda logits, labels: {"logits": layers.cross_entropy_backward(logits,
            labels)},
                  lambda logits, labels: cross_entropy(logits, labels), {"logits": 5 * draw(32, 10), "labels": labels}),
            Check(f"cross_entropy probabilities {precision}",
                  lambda logits, targets: {"logits": layers.cross_entropy_backward(logits, targets)},
                  lambda logits, targets: cross_entropy(logits, targets),
                  {"logits": 5 * draw(32, 10), "targets": rng.dirichlet(np.ones(10), 32).astype(dtype)}),
        ]  # fmt: skip
        mlp = MLP.xavier([64, 48, 24, 10], seed, dtype)
        module = ReferenceMLP.from_manual(mlp).double()
        x = draw(32, 64)

        def manual(x: Any = x, labels: Any = labels, **parameters: Any) -> Any:
            return MLP(parameters).backprop(x, labels)[1]

        def reference(x: Any = x, labels: Any = labels, module: Any = module, **parameters: Any) -> Any:
            tensors = {name: value.T for name, value in parameters.items()}
            data = torch.from_numpy(x).to(next(iter(tensors.values())).dtype)
            return cross_entropy(torch.func.functional_call(module, tensors, (data,)), torch.from_numpy(labels))

        checks.append(Check(f"MLP {precision}", manual, reference, mlp.parameters))
    return checks


if __name__ == "__main__":
    sys.exit(main())
