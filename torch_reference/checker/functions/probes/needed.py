"""Only some inputs may require a gradient: a frozen weight, a first layer's data."""

import torch

from torch_reference.checker.functions.probes.trial import Findings, Trial


def needed(trial: Trial) -> Findings:
    """Find inputs whose gradient is missing or another one if no other input requires a gradient."""
    found: Findings = {}
    for name in trial.wanted if len(trial.wanted) > 1 else ():
        plain = trial.answer.gradients[name]
        if plain is None:
            continue
        try:
            alone: torch.Tensor | None = trial.ask(wanted=[name]).gradients[name]
        except Exception as error:
            found[name] = f"If only {name} requires a gradient: {type(error).__name__}: {error}"
            continue
        if alone is None and bool(plain.any()):
            found[name] = f"It is None if only {name} requires a gradient."
        elif not trial.alike(name, alone, plain):
            found[name] = f"It is another one if only {name} requires a gradient."
    return found
