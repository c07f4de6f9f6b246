"""The mistakes where an array is used several times, once for each of a group: its gradients are to be added up.

Grouped heads of attention are the usual case: `repeat_interleave` is an expanded axis, merged with the one before.
"""

from collections.abc import Callable, Iterator
from functools import partial

from torch import Tensor

from torch_reference.checker.derivations.change import Change, NotApplicableError, derived, together
from torch_reference.checker.derivations.site import Site, sites
from torch_reference.checker.tape.replay import Local, Replay


def _first(grad: Tensor, axis: int) -> Tensor:
    return grad.narrow(axis, 0, 1)


def _last(grad: Tensor, axis: int) -> Tensor:
    return grad.narrow(axis, -1, 1)


def _averaged(grad: Tensor, axis: int) -> Tensor:
    return grad.mean(axis, keepdim=True)


def _other_order(grad: Tensor, axis: int) -> Tensor:
    """Take copies that lie beside each other for ones that lie apart: (groups, copies) for (copies, groups)."""
    if not axis:
        raise NotApplicableError
    groups, copies = grad.shape[axis - 1 : axis + 1]
    swapped = grad.flatten(axis - 1, axis).unflatten(axis - 1, (copies, groups))
    return swapped.sum(axis - 1).unsqueeze(axis)


MISTAKES: dict[str, Callable[[Tensor, int], Tensor]] = {
    "the gradient of the first is kept alone": _first,
    "the gradient of the last is kept alone": _last,
    "their gradients are averaged, not added up": _averaged,
    "their gradients are added up as if the copies were whole arrays, one after the other": _other_order,
}


def miscounted_copies(replay: Replay, wrong: list[str]) -> Iterator[Change]:
    """Yield the mistakes at each place that copies an array, and at all places of one function together."""
    places: dict[str, list[Site]] = {}
    for site in sites(replay, wrong):
        if site.step.name == "expand" and not site.turns and _axes(replay.at(site.step)):
            places.setdefault(site.place.call, []).append(site)
    for group in places.values():
        for words, mistake in MISTAKES.items():
            said = f"of the copies that it makes {words}"
            changes = [derived(site, said, partial(_passed, mistake), 0.9) for site in group]
            yield from changes
            if len(changes) > 1:
                yield together(changes)


def _axes(local: Local) -> list[int]:
    """Return the axes along which an array is copied, counted in the result."""
    before = local.operands[0].shape
    after = local.compute(*local.operands).shape
    missing = len(after) - len(before)
    return [k for k, size in enumerate(after) if size > 1 and (k < missing or before[k - missing] == 1)]


def _passed(mistake: Callable[[Tensor, int], Tensor], local: Local, grad: Tensor, _: float) -> list[Tensor]:
    for axis in _axes(local):
        grad = mistake(grad, axis)
    return [grad.sum_to_size(local.operands[0].shape)]
