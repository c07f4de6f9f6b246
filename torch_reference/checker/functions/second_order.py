"""The gradient of the gradient: the backward pass of a function is itself a function, of the inputs and the upstream.

With L = sum_k sum(y_k * u_k), it maps (x, u) to dL/dx. What is checked is its own backward pass, at random upstream
gradients again, by the same judge.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from torch_reference.checker.functions.examination import examine
from torch_reference.checker.functions.experiment import Experiment
from torch_reference.checker.functions.probes.calls import Function, named
from torch_reference.checker.report.gradient import GradientReport


def second_order(experiment: Experiment, strict: bool) -> dict[str, GradientReport]:
    """Return a verdict on the second derivative by each input and by the upstream gradient of each output.

    Their names are those of the inputs and outputs, after `order2.`.
    """
    outputs = experiment.run().outputs
    upstream = {name: value for name, value in experiment.upstream(outputs).items() if outputs[name].requires_grad}
    differentiable = tuple(upstream)
    backward = replace(
        experiment,
        function=_backward_of(experiment.function, experiment.wanted, tuple(experiment.inputs), differentiable),
        reference=_backward_of(experiment.reference, experiment.wanted, tuple(experiment.inputs), differentiable),
        inputs=experiment.inputs | {f"order2.{name}": value for name, value in upstream.items()},
    )
    report = examine(backward, strict, probes=())
    found = {name.removeprefix("order2."): value for name, value in report.gradients.items() if name in backward.wanted}
    return {f"order2.{name}": replace(value, name=f"order2.{name}") for name, value in found.items()}


def _backward_of(
    function: Function, wanted: tuple[str, ...], inputs: tuple[str, ...], outputs: tuple[str, ...]
) -> Callable[..., Any]:
    """Return the backward pass of a function as a function of its inputs and its upstream gradients."""

    def backward(*values: Any) -> tuple[torch.Tensor, ...]:
        given = dict(zip(inputs, values[: len(inputs)], strict=True))
        returned = named(function(*given.values()))
        gradients = torch.autograd.grad(
            [returned[name] for name in outputs],
            [given[name] for name in wanted],
            list(values[len(inputs) :]),
            create_graph=True,
            allow_unused=True,
        )
        zeros = (torch.zeros_like(given[name]) for name in wanted)
        return tuple(zero if each is None else each for each, zero in zip(gradients, zeros, strict=True))

    return backward
