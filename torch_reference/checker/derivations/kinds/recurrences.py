"""The mistakes of linear recurrences, y_t = a_t * y_(t-1) + x_t: a backward pass that carries the wrong gradient.

With the gradient g_t of y_t alone, and c_t that of all that y_t leads to,

    c_t = g_t + a_(t+1) * c_(t+1),    dL/dx_t = c_t,    dL/da_t = c_t * y_(t-1).
"""

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from torch_reference.checker.derivations.change import Change, derived, value
from torch_reference.checker.derivations.functions import Recurrence
from torch_reference.checker.derivations.site import Site
from torch_reference.checker.tape.replay import Local, Replay

LONGEST = 64  # steps of a block that are tried
MISTAKES: dict[str, dict[str, Any]] = {
    "is multiplied by the decay of the step that it goes to, not of the step that it comes from": {"shift": -1},
    "is multiplied by the decay of the step after the one that it comes from": {"shift": 1},
    "is not multiplied by the decay": {"decays": False},
    "is carried from the first step to the last, as in the forward pass": {"forwards": True},
    "is right, but the decay's gradient reads the state after the step, not the one before": {"state": 0},
    "is left out: each step has the gradient of its own result alone": {"block": 1},
}


def other_recurrences(replay: Replay, site: Site) -> Iterator[Change]:
    """Yield the mistakes in what a recurrence carries back."""
    if not isinstance(site.step.func, Recurrence):
        return
    steps = replay.at(site.step).operands[0].shape[site.step.func.axis]
    blocks = {
        f"is carried within blocks of {size} steps, and nothing between them": {"block": size}
        for size in range(2, min(steps, LONGEST + 1))
    }
    for words, changed in (MISTAKES | blocks).items():
        yield derived(site, f"the gradient that later steps send back {words}", partial(_passed, changed), 0.9)


def _passed(changed: dict[str, Any], local: Local, grad: Tensor, _: float) -> list[Tensor]:
    x, a = (operand.detach() for operand in local.operands)
    along = local.step.func.axis
    decays, states, arriving = (each.expand(x.shape).unbind(along) for each in (a, value(local), grad))
    grad_x, grad_a = _carried(decays, states, arriving, **changed)
    return [torch.stack(grad_x, along), torch.stack(grad_a, along).sum_to_size(a.shape)]


def _carried(
    a: tuple[Tensor, ...],
    y: tuple[Tensor, ...],
    g: tuple[Tensor, ...],
    shift: int = 0,
    block: int = 0,
    state: int = -1,
    decays: bool = True,
    forwards: bool = False,
) -> tuple[list[Tensor], list[Tensor]]:
    """Return the gradients of x_t and of a_t."""
    last = len(a) - 1
    c = [torch.zeros_like(g[0])] * len(a)
    for t in range(len(a)) if forwards else range(last, -1, -1):
        source = t - 1 if forwards else t + 1
        c[t] = g[t]
        if 0 <= source <= last and not (block and (t + 1) % block == 0):
            decay = a[min(max(t if forwards else source + shift, 0), last)]
            c[t] = g[t] + (decay * c[source] if decays else c[source])
    before = [torch.zeros_like(y[0]), *y]
    return c, [c[t] * before[t + 1 + state] for t in range(len(a))]
