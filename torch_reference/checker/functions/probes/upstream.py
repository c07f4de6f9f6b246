"""A backward pass is linear in its upstream gradient, and each part of that acts by itself."""

from collections.abc import Iterator
from typing import Any

import torch

from torch_reference.checker.functions.probes.calls import Tensors, copied
from torch_reference.checker.functions.probes.trial import Findings, Trial

FEW = 16  # rows that are tried one by one


def upstream(trial: Trial) -> Findings:
    """Find gradients that do not follow their upstream gradient.

    With the rows of the upstream gradient u dealt out to two parts a and b,

        gradient(2 a) + 2 gradient(b) = 2 gradient(u).
    """
    doubled = trial.ask(upstream=_rows(trial.upstream, 0, times=2)).gradients
    rest = trial.ask(upstream=_rows(trial.upstream, 1)).gradients
    wrong = [name for name in trial.wanted if not trial.adds_up(name, [doubled[name], rest[name], rest[name]], times=2)]
    found = _explained(trial, wrong) if wrong else {}
    if len(trial.upstream) > 1:
        parts = [trial.ask(upstream={name: value}).gradients for name, value in trial.upstream.items()]
        for name in trial.wanted:
            if name not in found and not trial.adds_up(name, [part[name] for part in parts]):
                found[name] = "The gradients for one output after the other do not add up to the gradient for all."
    return found


def _explained(trial: Trial, wrong: list[str]) -> Findings:
    twice = trial.ask(upstream={name: 2 * value for name, value in trial.upstream.items()}).gradients
    found = {}
    for name in wrong:
        if trial.alike(name, twice[name], trial.answer.gradients[name]):
            found[name] = "It ignores its upstream gradient: twice of that leaves it as it is."
        elif not trial.alike(name, _half(twice[name]), trial.answer.gradients[name]):
            found[name] = "Twice the upstream gradient does not give twice the gradient."
        else:
            found[name] = "The rows of the upstream gradient do not act apart: its halves do not add up to it."
    return found


def _rows(upstream: Tensors, start: int, times: float = 1) -> Tensors:
    """Return every other row of each upstream gradient, so many times; one without rows is row 0."""
    found = {}
    for name, value in upstream.items():
        rows = copied(value).mul_(times)
        axis = next((axis for axis, size in enumerate(value.shape) if size > 1), 0)
        torch.atleast_1d(rows).movedim(axis, 0)[1 - start :: 2] = 0
        found[name] = rows
    return found


def _half(gradient: torch.Tensor | None) -> torch.Tensor | None:
    return None if gradient is None else gradient / 2


def unheard(trial: Trial) -> Iterator[tuple[str, str, dict[str, Any], Tensors]]:
    """Yield what `simplified` does, for an upstream gradient without the rows that make no difference.

    A sum over groups of rows may leave one group out: then none of its rows is heard.
    """
    if len(trial.upstream) != 1:
        return
    ((output, value),) = trial.upstream.items()
    if not value.dim() or not 2 < (size := len(value)) <= FEW:
        return
    alone = [trial.ask(upstream={output: _only(value, [row])}).gradients for row in range(size)]
    for name in trial.wanted:
        heard = [row for row, each in enumerate(alone) if (found := each[name]) is not None and found.any()]
        if 0 < len(heard) < size:
            left = ", ".join(str(row) for row in range(size) if row not in heard)
            words = f"Along axis 0 of the output it ignores its upstream gradient at {left}"
            yield f"{words}: right only where that is 0.", "ignored", trial.inputs, {output: _only(value, heard)}


def _only(value: torch.Tensor, rows: list[int]) -> torch.Tensor:
    """Return zeros in place of all rows but some."""
    kept = torch.zeros_like(value)
    kept[rows] = value[rows]
    return kept
