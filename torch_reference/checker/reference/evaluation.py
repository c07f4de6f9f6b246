"""What autograd says: the reference loss and its gradients, evaluated as often as the check needs."""

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.attention import SDPBackend, sdpa_kernel

from torch_reference.checker.formats import FLOAT64, Array, Format, format_of
from torch_reference.checker.reference.modes import Mode, stacked
from torch_reference.checker.reference.precisions import Cast
from torch_reference.checker.reference.private import uncompiled

Gradients = dict[str, Array]


class IndependentError(ValueError):
    """The loss depends on none of the inputs."""


@dataclass(frozen=True, eq=False)
class Reference:
    """A reference loss at one point.

    Attributes
    ----------
    function : callable
        Gets one tensor for each input and returns the loss, a tensor with a single entry.
    inputs : mapping of str to array or tensor
        Floating ones are differentiated, others are constants.
    wanted : sequence of str
        The inputs whose gradients are asked for.
    seed : int
        Seed of PyTorch's generator before each evaluation, so that a dropout mask in the loss stays the same.
    lifted : bool
        Whether all inputs are evaluated in float64. Those of lower precision are lifted without loss, so that the
        reference is right to far more digits than the gradient under test.
    pairs : callable, optional
        If the loss is the sum over some outputs of sum(output * weight), with inputs as weights: gets what `function`
        gets and returns the name of each weight with the output. The gradient by a weight is the output itself.
    """

    function: Callable[..., Any]
    inputs: Mapping[str, Any]
    wanted: tuple[str, ...]
    seed: int = 0
    lifted: bool = True
    pairs: Callable[..., dict[str, torch.Tensor]] | None = None

    @property
    def coarsest(self) -> Format:
        """The lowest precision of the floating inputs. Scalars do not count, since NumPy adapts them to the arrays."""
        strong = [value for value in self.inputs.values() if isinstance(value, np.ndarray | torch.Tensor)]
        formats = [format_of(value.dtype) for value in strong if is_floating(value)]
        return max(formats, key=lambda each: each.epsilon, default=FLOAT64)

    def at(self, inputs: Mapping[str, Any]) -> "Reference":
        """Return the same loss at another point."""
        return replace(self, inputs=inputs)

    def native(self) -> "Reference":
        """Return the same loss, each input in its own precision."""
        return replace(self, lifted=False)

    def returned(self) -> Any:
        """Return what the function returns, be it a loss or not."""
        return self._run((), self.function)[0]

    def loss(self) -> float:
        """Return the value of the loss."""
        return float(self._forward(())[0].detach())

    def gradients(self, *modes: Mode) -> Gradients:
        """Return the gradients of the wanted inputs; an input that the loss does not use has gradient zero.

        Parameters
        ----------
        *modes : Mode
            Each sees, and may change, every operation; the last one first.
        """
        if self.pairs is None:
            loss, leaves = self._forward(modes)
            return _arrays(self._derived([(loss, None)], leaves, list(self.wanted), modes))
        outputs, leaves = self._run(modes, self.pairs)
        weighted = [(output, leaves[name].detach()) for name, output in outputs.items() if output.requires_grad]
        others = [name for name in self.wanted if name not in outputs]
        found = outputs | self._derived(weighted, leaves, others, modes)
        return _arrays({name: found[name] for name in self.wanted})

    def tensors(self) -> dict[str, torch.Tensor]:
        """Return fresh tensors of the inputs, in the precision of the evaluation."""
        return {name: _tensor(value, self.lifted) for name, value in self.inputs.items()}

    @contextmanager
    def evaluating(self, modes: tuple[Mode, ...] = ()) -> Iterator[None]:
        """Let PyTorch be as it is while the loss is evaluated: its default precision, its seed, no warnings."""
        with _quiet(self._default()), _seeded(self.seed), stacked(self._modes(modes)):
            yield

    def depths(self) -> dict[str, int]:
        """Return how many operations lie between each wanted input and the loss."""
        loss, leaves = self._forward(())
        distance: dict[Any, int] = {}
        layer = [loss.grad_fn]
        while layer:
            fresh = [node for node in dict.fromkeys(layer) if node is not None and node not in distance]
            distance |= dict.fromkeys(fresh, max(distance.values(), default=-1) + 1)
            layer = [parent for node in fresh for parent, _ in node.next_functions]
        found = {id(node.variable): steps for node, steps in distance.items() if hasattr(node, "variable")}
        return {name: found[id(leaves[name])] for name in self.wanted if id(leaves[name]) in found}

    def _derived(
        self,
        outputs: Sequence[tuple[torch.Tensor, torch.Tensor | None]],
        leaves: dict[str, torch.Tensor],
        names: list[str],
        modes: tuple[Mode, ...],
    ) -> dict[str, torch.Tensor]:
        """Return the gradients by some leaves of outputs with given weights."""
        backward = [mode for mode in self._modes(modes) if mode.backward]
        found: Any = [None] * len(names)
        if outputs and names:
            weights = [weight if weight is None else weight.to(output.dtype) for output, weight in outputs]
            with _quiet(self._default()), stacked(backward):
                found = torch.autograd.grad(
                    [output for output, _ in outputs], [leaves[name] for name in names], weights, allow_unused=True
                )
        return {
            name: torch.zeros(leaves[name].shape, dtype=FLOAT64.tensor) if gradient is None else gradient
            for name, gradient in zip(names, found, strict=True)
        }

    def _default(self) -> torch.dtype:
        return FLOAT64.tensor if self.lifted else self.coarsest.tensor

    def _modes(self, modes: tuple[Mode, ...]) -> tuple[Mode, ...]:
        """Add the cast of all to float64, before the others see an operation."""
        return (*modes, Cast(FLOAT64)) if self.lifted else modes

    def _forward(self, modes: tuple[Mode, ...]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        returned, leaves = self._run(modes, self.function)
        return _checked(returned), leaves

    def _run(self, modes: tuple[Mode, ...], function: Callable[..., Any]) -> tuple[Any, dict[str, torch.Tensor]]:
        tensors = self.tensors()
        for mode in modes:
            mode.begin(tensors.values())
        leaves = {name: value.requires_grad_() for name, value in tensors.items() if value.is_floating_point()}
        with self.evaluating(modes):
            return function(**tensors), leaves


def is_floating(value: Any) -> bool:
    """Say whether an input is differentiated."""
    return value.is_floating_point() if isinstance(value, torch.Tensor) else np.asarray(value).dtype.kind == "f"


def exact(value: Any) -> NDArray[Any]:
    """Return a copy of an input as an array, a floating one in float64."""
    if isinstance(value, torch.Tensor):
        array = value.detach().cpu()
        return (array.double() if is_floating(value) else array.clone()).numpy().copy()
    return np.array(value, dtype=np.float64 if is_floating(value) else None)


def _arrays(tensors: Mapping[str, torch.Tensor]) -> Gradients:
    """Return arrays each of which has memory of its own: autograd may return one tensor for two inputs."""
    found, seen = {}, set()
    for name, tensor in tensors.items():
        double = tensor.detach().double().cpu()
        storage = double.untyped_storage()
        if storage.data_ptr() in seen or storage.nbytes() != double.numel() * double.element_size():
            double = double.clone(memory_format=torch.contiguous_format)
        seen.add(storage.data_ptr())
        found[name] = double.numpy()
    return found


def _tensor(value: Any, lift: bool) -> torch.Tensor:
    """Return a fresh tensor of an input: in float64, or in the input's own type if PyTorch has it."""
    if isinstance(value, torch.Tensor):
        return value.detach().to(FLOAT64.tensor if lift and value.is_floating_point() else value.dtype, copy=True)
    array = np.asarray(value)
    if array.dtype.kind == "f":
        tensor = torch.from_numpy(np.array(array, dtype=np.float64, order="C"))
        return tensor if lift else tensor.to(format_of(array.dtype).tensor)
    wide = array.dtype.kind == "u" and array.dtype.itemsize > 1
    return torch.from_numpy(np.array(array, dtype=np.int64 if wide else array.dtype.newbyteorder("="), order="C"))


def _checked(loss: Any) -> torch.Tensor:
    if not isinstance(loss, torch.Tensor):
        raise TypeError(f"reference must return a scalar tensor, but it returned {type(loss).__name__}")
    if loss.numel() != 1:
        raise ValueError(f"reference must return a scalar loss, but its shape is {tuple(loss.shape)}")
    if not loss.is_floating_point():
        raise TypeError(f"reference must return a floating loss, but its dtype is {loss.dtype}")
    if not loss.requires_grad:
        raise IndependentError("the loss of reference depends on none of the floating inputs: is it detached?")
    return loss.reshape(())


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed PyTorch's generator for the CPU, and put its state back afterwards."""
    before = torch.get_rng_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(before)


@contextmanager
def _quiet(dtype: torch.dtype) -> Iterator[None]:
    """Let tensors that the loss creates have the precision of the evaluation; hide its warnings; compile nothing.

    Attention is computed by its steps: the kernels that fuse them hide long sums from the noise.
    """
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with sdpa_kernel(SDPBackend.MATH), uncompiled():
                yield
    finally:
        torch.set_default_dtype(before)
