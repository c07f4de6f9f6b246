"""A function changes nothing that others hold, keeps nothing between calls, and adds to gradients that are there."""

import warnings
from typing import Any

import torch

from torch_reference.checker.functions.probes.calls import copied, forward, seeded
from torch_reference.checker.functions.probes.trial import Findings, Trial

EXISTING = 0.5  # the gradient that is there already, in units of minus the plain one: the sum cannot overflow


def side_effects(trial: Trial) -> Findings:
    """Find what a call leaves behind.

    Another forward pass, with other inputs, comes between the forward pass and its backward pass, which is asked for
    twice and adds to gradients that exist.
    """
    everything = [*trial.answer.outputs, *trial.wanted]
    if trial.answer.changed:
        return dict.fromkeys(everything, f"The function writes into {', '.join(trial.answer.changed)}.")
    run = forward(trial.function, trial.inputs, trial.wanted, trial.seed)
    changed = [name for name, value in run.outputs.items() if not trial.alike(name, value, trial.answer.outputs[name])]
    if changed:
        return dict.fromkeys(everything, f"A second call with the same inputs returns another {changed[0]}.")
    other = _elsewhere(trial)
    arriving = {name: copied(value) for name, value in trial.upstream.items()}
    first, grown, error = _accumulated(trial, run, arriving)
    if error:
        return dict.fromkeys(trial.wanted, f"A second call raises {error}")
    del other
    found = {}
    for name in trial.wanted:
        plain = trial.answer.gradients[name]
        if not trial.alike(name, first[name], plain):
            found[name] = _unstable(trial, name)
        elif not trial.adds_up(name, [grown[name]], times=1 - EXISTING):
            found[name] = "It is not added to the gradient that the input has already."
    if not found:
        found = _repeated(trial, run, first)
    return found


def _elsewhere(trial: Trial) -> Any:
    """Call the function with other numbers; whether it takes them does not matter here."""
    halved = {
        name: value.detach() / 2 if isinstance(value, torch.Tensor) and value.is_floating_point() else value
        for name, value in trial.inputs.items()
    }
    try:
        return forward(trial.function, halved, trial.wanted, trial.seed)
    except Exception:
        return None


def _accumulated(
    trial: Trial, run: Any, arriving: dict[str, torch.Tensor]
) -> tuple[dict[str, torch.Tensor | None], dict[str, torch.Tensor | None], str]:
    """Run backward into gradients that exist; return what arrives, and what they have become."""
    arrived: dict[str, torch.Tensor | None] = dict.fromkeys(trial.wanted)
    for name, leaf in run.leaves.items():
        plain = trial.answer.gradients[name]
        leaf.grad = None if plain is None else copied(plain.contiguous()).mul_(-EXISTING)
        if plain is not None:
            leaf.register_hook(lambda gradient, name=name: arrived.update({name: copied(gradient)}))
    names = [name for name in arriving if run.outputs[name].requires_grad]
    try:
        with seeded(trial.seed), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about how gradients lie that exist
            torch.autograd.backward(
                [run.outputs[name] for name in names], [arriving[name] for name in names], retain_graph=True
            )
    except Exception as error:
        return arrived, arrived, f"{type(error).__name__}: {error}"
    first = dict(arrived)  # the hooks go on with every other backward pass
    return first, {name: leaf.grad for name, leaf in run.leaves.items()}, ""


def _repeated(trial: Trial, run: Any, first: dict[str, torch.Tensor | None]) -> Findings:
    """Ask for the same backward pass once more; what the function has saved must still be there."""
    message = "A second backward pass of the same call {}: the first has changed what was saved."
    try:
        with seeded(trial.seed):
            again = run.backward({name: copied(value) for name, value in trial.upstream.items()})
    except Exception as error:
        if "modified by an inplace operation" in str(error):
            return dict.fromkeys(trial.wanted, message.format("raises an error"))
        return {}  # refused, with an error: no wrong numbers
    wrong = [name for name in trial.wanted if not trial.alike(name, again[name], first[name])]
    return dict.fromkeys(wrong, message.format("gives another gradient"))


def _unstable(trial: Trial, name: str) -> str:
    again = trial.ask().gradients[name]
    if trial.alike(name, again, trial.answer.gradients[name]):
        return "Wrong if another call comes between the forward and the backward pass: it keeps what is not its own."
    return "A second call with the same inputs gives another gradient: it keeps or draws something."
