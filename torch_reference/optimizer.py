"""PyTorch's own optimizers: SGD made to do exactly the assignment's update, Adam and AdamW."""

from typing import Any

import torch
from torch import nn


def matched_sgd(
    module: nn.Module, learning_rate: float = 0.1, momentum: float = 0.9, initial_velocity: float = 1e-5
) -> torch.optim.SGD:
    """Return a `torch.optim.SGD` whose every step is v <- momentum · v + learning_rate · gradient, w <- w - v.

    PyTorch's SGD keeps a buffer b <- momentum · b + gradient and moves w <- w - lr · b
    (https://docs.pytorch.org/docs/stable/generated/torch.optim.SGD.html), so v = lr · b, with two differences:

    - Its first step sets b to the gradient alone. A buffer that is there beforehand, v0 / lr, makes it like all others.
    - When lr changes, lr · b would change with it, but v must not. Before such a step, b is multiplied by old / new lr.

    Parameters
    ----------
    module : the network whose parameters are trained
    learning_rate : alpha; `param_groups[i]["lr"]` afterwards, which any PyTorch scheduler may change
    momentum : gamma
    initial_velocity : every entry of v before the first step

    Returns
    -------
    torch.optim.SGD
        The velocity is `velocity_unit` (an entry of the parameter group) times `momentum_buffer` (of the state).
    """
    optimizer = torch.optim.SGD(module.parameters(), lr=learning_rate, momentum=momentum, fused=True)
    for group in optimizer.param_groups:
        group["velocity_unit"] = _velocity_unit(learning_rate)
        for parameter in group["params"]:
            buffer = torch.full_like(parameter, initial_velocity / group["velocity_unit"])
            optimizer.state[parameter]["momentum_buffer"] = buffer
    optimizer.register_step_pre_hook(_keep_velocity)
    optimizer.register_step_post_hook(_restore_zero_learning_rate)
    return optimizer


def fused_adam(
    kind: type[torch.optim.Adam], module: nn.Module, learning_rate: float, weight_decay: float
) -> torch.optim.Adam:
    """Return a fused `torch.optim.Adam` or `AdamW` whose state is there before the first step."""
    parameters = list(module.parameters())
    on_gpu = parameters[0].is_cuda
    optimizer = kind(parameters, lr=learning_rate, weight_decay=weight_decay, fused=True, capturable=on_gpu)
    for parameter in parameters:
        optimizer.state[parameter] = {
            "step": torch.zeros((), dtype=torch.float32, device=parameter.device),
            "exp_avg": torch.zeros_like(parameter),
            "exp_avg_sq": torch.zeros_like(parameter),
        }
    return optimizer


def _velocity_unit(learning_rate: float) -> float:
    """Return what the buffer is counted in: the learning rate or, where that is 0, the velocity itself."""
    return learning_rate or 1.0


def _keep_velocity(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """Before a step: count the buffer in the new learning rate, so that their product stays the velocity."""
    for group in optimizer.param_groups:
        unit = _velocity_unit(group["lr"])
        if unit != group["velocity_unit"]:
            for parameter in group["params"]:
                optimizer.state[parameter]["momentum_buffer"].mul_(group["velocity_unit"] / unit)
            group["velocity_unit"] = unit
        if group["lr"] == 0 and group["momentum"] != 0:
            # v <- momentum · v, w <- w - v: the gradient is dampened away, the velocity acts on
            group["lr"], group["dampening"] = 1.0, 1.0


def _restore_zero_learning_rate(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    """After a step at learning rate 0: leave the group as the caller, or a scheduler, set it."""
    for group in optimizer.param_groups:
        if group["dampening"] == 1:
            group["lr"], group["dampening"] = 0.0, 0.0
