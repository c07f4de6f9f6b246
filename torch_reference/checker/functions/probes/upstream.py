"""A backward pass is linear in its upstream gradient, and each part of that acts by itself."""

import torch

from torch_reference.checker.functions.probes.calls import Tensors
from torch_reference.checker.functions.probes.trial import Findings, Trial


def upstream(trial: Trial) -> Findings:
    """Find gradients that do not follow their upstream gradient.

    With the rows of the upstream gradient u dealt out to two parts a and b,

        gradient(2 a) / 2 + gradient(b) = gradient(u).
    """
    first, second = _dealt(trial.upstream)
    doubled, rest = trial.ask(upstream=_times(first, 2)), trial.ask(upstream=second)
    halves = {name: _half(value) for name, value in doubled.gradients.items()}
    wrong = [name for name in trial.wanted if not trial.adds_up(name, [halves[name], rest.gradients[name]])]
    found = _explained(trial, wrong) if wrong else {}
    if len(trial.upstream) > 1:
        parts = [trial.ask(upstream={name: value}).gradients for name, value in trial.upstream.items()]
        for name in trial.wanted:
            if name not in found and not trial.adds_up(name, [part[name] for part in parts]):
                found[name] = "The gradients for one output after the other do not add up to the gradient for all."
    return found


def _explained(trial: Trial, wrong: list[str]) -> Findings:
    twice = trial.ask(upstream=_times(trial.upstream, 2)).gradients
    found = {}
    for name in wrong:
        if trial.alike(name, twice[name], trial.answer.gradients[name]):
            found[name] = "It ignores its upstream gradient: twice of that leaves it as it is."
        elif not trial.alike(name, _half(twice[name]), trial.answer.gradients[name]):
            found[name] = "Twice the upstream gradient does not give twice the gradient."
        else:
            found[name] = "The rows of the upstream gradient do not act apart: its halves do not add up to it."
    return found


def _dealt(upstream: Tensors) -> tuple[Tensors, Tensors]:
    """Deal the rows of each upstream gradient out in turn; one without rows goes to the first."""
    first, second = {}, {}
    for name, value in upstream.items():
        axis = next((axis for axis, size in enumerate(value.shape) if size > 1), None)
        turn = torch.zeros(value.shape, dtype=torch.bool, device=value.device)
        if axis is not None:
            turn.narrow(axis, 1, value.shape[axis] - 1).unfold(axis, 1, 2).fill_(True)
        first[name], second[name] = value.masked_fill(turn, 0), value.masked_fill(~turn, 0)
    return first, second


def _times(upstream: Tensors, factor: float) -> Tensors:
    return {name: factor * value for name, value in upstream.items()}


def _half(gradient: torch.Tensor | None) -> torch.Tensor | None:
    return None if gradient is None else gradient / 2
