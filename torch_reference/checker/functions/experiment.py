"""One point at which a function is judged: its answer there, the upstream gradients, and the reference."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch

from torch_reference.checker.case import Given
from torch_reference.checker.formats import FLOAT32, Array, format_of
from torch_reference.checker.functions.loss import Loss
from torch_reference.checker.functions.low_precision import LowPrecision
from torch_reference.checker.functions.probes.calls import Answer, Forward, Function, Tensors, forward
from torch_reference.checker.functions.probes.trial import array, numpy
from torch_reference.checker.judge import Judgement, judge
from torch_reference.checker.reference.evaluation import Reference


@dataclass(frozen=True, eq=False)
class Experiment:
    """A function at one point.

    Attributes
    ----------
    function, reference : callable
        The function under test, and what it is judged by.
    inputs : dict
        The inputs by name, in their order.
    seed : int
        Seed of everything that is drawn.
    device : torch device
        Where the reference is evaluated.
    """

    function: Function
    reference: Function
    inputs: dict[str, Any]
    seed: int
    device: torch.device

    @cached_property
    def wanted(self) -> tuple[str, ...]:
        """The floating inputs."""
        return tuple(name for name, value in self.inputs.items() if is_floating_tensor(value))

    def run(self) -> Forward:
        """Call the function."""
        return forward(self.function, self.inputs, self.wanted, self.seed)

    def upstream(self, outputs: Mapping[str, torch.Tensor]) -> Tensors:
        """Draw an upstream gradient for each floating output."""
        generator = torch.Generator().manual_seed(self.seed)
        drawn = {}
        for name, output in outputs.items():
            if output.is_floating_point():
                dtype = output.dtype if output.dtype == torch.float64 else torch.float32
                numbers = torch.randn(output.shape, generator=generator, dtype=dtype)
                drawn[name] = numbers.add_(numbers.sign(), alpha=0.25).to(output.device, output.dtype)  # none near zero
        return drawn

    def expected(self, native: bool = False) -> Tensors:
        """Return the outputs of the reference, evaluated in float64 or the inputs' own types, whichever it allows."""
        floating = {name: self.inputs[name].detach().to(self.device) for name in self.wanted}
        loss = Loss(self.reference, self._moved(), {})
        plain = Reference(lambda **tensors: loss.outputs(tensors), floating, self.wanted, self.seed)
        first, second = (plain.native(), plain) if native else (plain, plain.native())
        try:
            returned = first.returned()
        except Exception:
            returned = second.returned()
        return {name: value.detach() for name, value in returned.items()}

    def judge(
        self,
        answer: Answer,
        upstream: Tensors,
        shapes: Mapping[str, torch.Size],
        fixed: frozenset[str] = frozenset(),
        search: bool = False,
    ) -> tuple[Judgement, LowPrecision | None]:
        """Judge outputs and gradients; one that is absent counts as zeros. Return the budget of a low precision, too.

        Parameters
        ----------
        answer : Answer
            What the function returned.
        upstream : dict of str to tensor
            The upstream gradient of each floating output.
        shapes : mapping of str to shape
            Those of the reference's outputs.
        fixed : frozenset of str
            The outputs that are not differentiable.
        search : bool
            Look for the step of the derivation that went wrong.
        """
        shaped = {name: value.reshape(shapes[name]).to(self.device) for name, value in upstream.items()}
        tensors = shaped | {name: self.inputs[name].detach().to(self.device) for name in self.wanted}
        given = {name: _given(answer.outputs[name]) for name in upstream}
        for name, gradient in answer.gradients.items():
            given[name] = _given(torch.zeros_like(self.inputs[name]) if gradient is None else gradient)
        loss = Loss(self.reference, self._moved(), shaped, fixed)
        reference = Reference(loss, tensors, tuple(given), self.seed, pairs=loss.pairs)
        low = LowPrecision(given, reference, loss) if reference.coarsest.epsilon > FLOAT32.epsilon else None

        def elsewhere(amount: float, _: bool) -> tuple[dict[str, Array], dict[str, Any]] | None:
            return self._elsewhere(amount, upstream, tensors)

        return judge(given, reference, self._shown(upstream), elsewhere, low, search), low

    def _moved(self) -> dict[str, Any]:
        return {
            name: value.detach().to(self.device) if isinstance(value, torch.Tensor) else value
            for name, value in self.inputs.items()
        }

    def _shown(self, upstream: Tensors) -> dict[str, Any]:
        """Return the numbers of the problem, of which causes look for multiples."""
        shown: dict[str, Any] = {f"the upstream gradient of {name}": numpy(value) for name, value in upstream.items()}
        for name, value in self.inputs.items():
            if isinstance(value, torch.Tensor):
                shown[name] = numpy(value)
            elif isinstance(value, int | float) and not isinstance(value, bool):
                shown[name] = np.asarray(value)
        return shown

    def _elsewhere(
        self, amount: float, upstream: Tensors, tensors: Tensors
    ) -> tuple[dict[str, Array], dict[str, Any]] | None:
        """Return what the function answers where its inputs are moved by a relative amount."""
        generator = torch.Generator().manual_seed(self.seed)
        moved = dict(self.inputs)
        for name in self.wanted:
            value = self.inputs[name].detach()
            noise = 2 * torch.rand(value.shape, generator=generator, dtype=torch.float64) - 1
            moved[name] = (value.double() * (1 + amount * noise.to(value.device))).to(value.dtype)
        try:
            answer = forward(self.function, moved, self.wanted, self.seed).answer(upstream, self.seed)
        except Exception:
            return None
        found = {name: array(answer.outputs[name]) for name in upstream}
        found |= {name: array(value) for name, value in answer.gradients.items() if value is not None}
        return found, tensors | {name: moved[name].to(self.device) for name in self.wanted}


def is_floating_tensor(value: Any) -> bool:
    """Say whether an input is differentiated."""
    return isinstance(value, torch.Tensor) and value.is_floating_point()


def _given(tensor: torch.Tensor) -> Given:
    return Given(numpy(tensor), format_of(tensor.dtype))
