"""One call of a function, forward and backward, on copies of what it is given."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

Tensors = dict[str, torch.Tensor]
Function = Callable[..., Any]


@dataclass(frozen=True, eq=False)
class Answer:
    """What a function returned.

    Attributes
    ----------
    outputs : dict of str to tensor
        Its outputs.
    gradients : mapping of str to tensor or None
        The gradient of each input that was asked for; None where there is none.
    changed : tuple of str
        What the call has written into, if it was watched: inputs, outputs and upstream gradients that are no longer
        what they were.
    """

    outputs: Tensors
    gradients: Mapping[str, torch.Tensor | None]
    changed: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Forward:
    """A forward pass whose backward pass is still to come.

    Attributes
    ----------
    given : dict
        Copies of the inputs, in their order.
    leaves : dict of str to tensor
        Those of them that require a gradient.
    outputs : dict of str to tensor
        What the function returned.
    """

    given: dict[str, Any]
    leaves: Tensors
    outputs: Tensors

    def backward(self, upstream: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor | None]:
        """Return the gradient of each leaf for given upstream gradients of the outputs.

        Parameters
        ----------
        upstream : mapping of str to tensor
            One for each output that has a part in it.
        """
        names = [name for name in upstream if self.outputs[name].requires_grad]
        if not names:
            return dict.fromkeys(self.leaves)
        found = torch.autograd.grad(
            [self.outputs[name] for name in names],
            list(self.leaves.values()),
            [upstream[name] for name in names],
            allow_unused=True,
        )
        return dict(zip(self.leaves, found, strict=True))

    def answer(self, upstream: Mapping[str, torch.Tensor], seed: int) -> Answer:
        """Run the backward pass on copies of the upstream gradients."""
        with seeded(seed):
            gradients = self.backward({name: copied(value) for name, value in upstream.items()})
        return Answer({name: value.detach() for name, value in self.outputs.items()}, gradients)

    def watched(self, inputs: Mapping[str, Any], upstream: Mapping[str, torch.Tensor], seed: int) -> Answer:
        """Do the same, keep the outputs as they were before it, and see what has changed since the call."""
        outputs = {name: copied(value) for name, value in self.outputs.items()}
        arriving = {name: copied(value) for name, value in upstream.items()}
        with seeded(seed):
            gradients = self.backward(arriving)
        pairs: list[tuple[str, Any, Any]] = [(name, inputs[name], self.given[name]) for name in inputs]
        pairs += [(name, outputs[name], self.outputs[name]) for name in outputs]
        pairs += [(f"the upstream gradient of {name}", upstream[name], arriving[name]) for name in upstream]
        changed = [name for name, old, new in pairs if isinstance(old, torch.Tensor) and not same(old, new)]
        return Answer(outputs, gradients, tuple(changed))


def forward(function: Function, inputs: Mapping[str, Any], wanted: Iterable[str], seed: int) -> Forward:
    """Call a function on copies of the inputs, of which those that are wanted require a gradient."""
    given = {name: copied(value) if isinstance(value, torch.Tensor) else value for name, value in inputs.items()}
    leaves = {name: given[name].requires_grad_() for name in wanted}
    try:
        with seeded(seed):
            return Forward(given, leaves, named(function(*given.values())))
    except RuntimeError as error:
        if "leaf Variable that requires grad" not in str(error):
            raise
        words = "the function works in place on an input that requires a gradient: check lambda x: function(x.clone())"
        raise ValueError(words) from error


def called(
    function: Function,
    inputs: Mapping[str, Any],
    upstream: Mapping[str, torch.Tensor],
    wanted: Iterable[str],
    seed: int,
) -> Answer:
    """Call a function on copies of the inputs and ask for the gradients of those that are wanted."""
    return forward(function, inputs, wanted, seed).answer(upstream, seed)


def named(returned: Any) -> Tensors:
    """Return the outputs of a function by name: `output`, or `output.0` and so on where there are several."""
    if isinstance(returned, torch.Tensor):
        return {"output": returned}
    if not isinstance(returned, tuple | list):
        raise TypeError(f"a function must return a tensor or a tuple of tensors, not {type(returned).__name__}")
    outputs = {f"output.{place}": value for place, value in enumerate(returned) if value is not None}
    for name, value in outputs.items():
        if not isinstance(value, torch.Tensor):
            raise TypeError(f"{name} must be a tensor, not {type(value).__name__}")
    if not outputs:
        raise ValueError("the function returned no tensor: there is nothing to check")
    return outputs


def copied(tensor: torch.Tensor) -> torch.Tensor:
    """Return a copy that lies in memory as the tensor does, with what surrounds it there."""
    storage = tensor.detach().untyped_storage().clone()
    empty = torch.empty(0, dtype=tensor.dtype, device=tensor.device)
    return empty.set_(storage, tensor.storage_offset(), tensor.shape, tensor.stride())


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Say whether two tensors have the same entries; NaN counts as itself."""
    if one.shape != other.shape:
        return False
    if one.dtype == other.dtype and torch.equal(one, other):
        return True
    return bool(((one == other) | ((one != one) & (other != other))).all())


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed PyTorch's generators, and put their states back afterwards."""
    # without a device, `torch.manual_seed` notes its stack for each kind that there might be: 2 ms
    manual_seed = torch.manual_seed if torch.accelerator.is_available() else torch.default_generator.manual_seed
    with torch.random.fork_rng():
        manual_seed(seed)
        yield
