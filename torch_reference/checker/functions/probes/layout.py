"""A tensor may lie in memory in many ways; autograd hands backward passes whatever the next operation has made.

Functions may refuse inputs of some layouts. They may not refuse upstream gradients: whoever calls the function has no
say in how those lie.
"""

from collections.abc import Callable
from typing import Any

import torch

from torch_reference.checker.functions.probes.trial import Findings, Trial

Lay = Callable[[torch.Tensor], torch.Tensor]
PADDING = 3  # entries of the wider tensor on each side


def layout(trial: Trial) -> Findings:
    """Find outputs and gradients that are wrong for tensors that are not contiguous.

    All tensors lie reversed in wider ones first, which few kernels take as they are, then as slices, which `reshape`
    leaves where they are; only where one of these goes wrong they are laid in one way after another.
    """
    plain = {name: _contiguous(value) for name, value in trial.inputs.items()}
    found: Findings = {}
    if any(_wrong(trial, *_laid(trial, plain, lay))[0] for lay in (scattered, sliced)):
        for words, lay in LAYOUTS.items():
            inputs, arriving = _laid(trial, plain, lay)
            for names, message in _apart(trial, words, plain, inputs, arriving):
                for name in names:
                    found.setdefault(name, message)
    arriving = {name: _expanded(value) for name, value in trial.upstream.items()}
    if all(value.is_contiguous() for value in arriving.values()):
        return found
    expected = trial.ask(upstream={name: value.contiguous() for name, value in arriving.items()})
    try:
        wrong = trial.differing(trial.ask(upstream=arriving), expected)
        message = "Wrong where the upstream gradient is expanded (stride 0); right for a contiguous one."
    except Exception as error:
        wrong, message = list(trial.wanted), _refused("an upstream gradient that is expanded (stride 0)", error)
    return dict.fromkeys(wrong, message) | found


def scattered(tensor: torch.Tensor) -> torch.Tensor:
    """Return the same entries with all axes reversed in memory, as part of a wider tensor."""
    if tensor.dim() < 2:
        return sliced(tensor)
    return sliced(tensor.permute(*reversed(range(tensor.dim())))).permute(*reversed(range(tensor.dim())))


def transposed(tensor: torch.Tensor) -> torch.Tensor:
    """Return the same entries with the last two axes swapped in memory."""
    return tensor.transpose(-1, -2).contiguous().transpose(-1, -2) if tensor.dim() > 1 else tensor.contiguous()


def outer_transposed(tensor: torch.Tensor) -> torch.Tensor:
    """Return the same entries with the two axes before the last swapped in memory, as attention's heads are."""
    return tensor.transpose(-2, -3).contiguous().transpose(-2, -3) if tensor.dim() > 2 else tensor.contiguous()


def sliced(tensor: torch.Tensor) -> torch.Tensor:
    """Return the same entries as part of a wider tensor, whose other entries are NaN (or large integers)."""
    if not tensor.dim():
        return tensor.clone()
    wide = [*tensor.shape[:-1], tensor.shape[-1] + 2 * PADDING]
    around = torch.full(wide, _poison(tensor.dtype), dtype=tensor.dtype, device=tensor.device)
    part = around.narrow(-1, PADDING, tensor.shape[-1])
    return part.copy_(tensor.detach())


LAYOUTS: dict[str, Lay] = {
    "transposed": transposed,
    "transposed in its outer axes": outer_transposed,
    "a slice of a wider tensor": sliced,
    "reversed in a wider tensor": scattered,
}


def _wrong(trial: Trial, inputs: dict[str, Any], arriving: dict[str, torch.Tensor]) -> tuple[list[str], str]:
    """Return what is wrong with these inputs and upstream gradients, and the error if there was one."""
    try:
        return trial.differing(trial.ask(inputs, arriving)), ""
    except Exception as error:
        return list(trial.wanted), f"{type(error).__name__}: {error}"


def _apart(
    trial: Trial, words: str, plain: dict[str, Any], laid: dict[str, Any], arriving: dict[str, torch.Tensor]
) -> list[tuple[list[str], str]]:
    """Lay one tensor after the other in this way, and say for which the answer is wrong."""
    found = []
    names, error = _wrong(trial, trial.inputs, arriving)
    if names and error:
        found.append((names, f"The backward pass refuses an upstream gradient that is {words}: {_first(error)}"))
    elif names:
        found.append((names, f"Wrong where the upstream gradient is {words}; right for a contiguous one."))
    for name, value in laid.items():
        if not isinstance(value, torch.Tensor) or value.is_contiguous():
            continue
        inputs = {**plain, name: value}
        try:
            trial.ask(inputs, wanted=())
        except Exception:  # noqa: S112 (refused, with an error: no wrong numbers)
            continue
        names, error = _wrong(trial, inputs, trial.upstream)
        if names:
            reason = f": {_first(error)}" if error else "; right for a contiguous one."
            found.append((names, f"Wrong where {name} is {words}{reason}"))
    return found


def _laid(trial: Trial, plain: dict[str, Any], lay: Lay) -> tuple[dict[str, Any], dict[str, torch.Tensor]]:
    """Return the inputs and the upstream gradients laid in a way."""
    moved = {name: lay(value) for name, value in plain.items() if _has_layout(value)}
    return {**plain, **moved}, {name: lay(value) for name, value in trial.upstream.items()}


def _expanded(tensor: torch.Tensor) -> torch.Tensor:
    """Return a tensor of the same shape whose entries are all one entry in memory."""
    if not tensor.dim() or not tensor.numel():
        return tensor
    return tensor.reshape(-1)[:1].reshape([1] * tensor.dim()).expand(tensor.shape)


def _has_layout(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.dim() > 0 and value.numel() > 1


def _contiguous(value: Any) -> Any:
    return value.detach().contiguous() if isinstance(value, torch.Tensor) else value


def _poison(dtype: torch.dtype) -> float | bool:
    if dtype.is_floating_point:
        return float("nan")
    return True if dtype == torch.bool else torch.iinfo(dtype).max


def _refused(what: str, error: Exception) -> str:
    return f"The backward pass refuses {what}: {_first(f'{type(error).__name__}: {error}')}"


def _first(error: str) -> str:
    """Return the first line of an error."""
    return error.strip().splitlines()[0]
