"""What autograd says: the reference loss and its gradients, evaluated as often as the check needs."""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils._python_dispatch import TorchDispatchMode

from torch_reference.checker.reference.perturbation import RoundingNoise
from torch_reference.checker.reference.ties import HoldDecisions, Recorder, TieBreak

Array = NDArray[Any]
Gradients = dict[str, NDArray[np.float64]]


class Autograd:
    """The gradients of one reference loss at one point.

    Parameters
    ----------
    reference : callable
        Gets one tensor for each input and returns the loss, a tensor with a single entry.
    inputs : mapping of str to array
        Floating arrays are differentiated, others are constants.
    wanted : list of str
        The inputs whose gradients are asked for.
    seed : int
        Seed of PyTorch's generator before each evaluation, so that a dropout mask in the loss stays the same.

    Attributes
    ----------
    lifted : bool
        Whether all inputs are evaluated in float64. Those of lower precision are lifted without loss, so that the
        reference is right to far more digits than the gradient under test. Where the loss refuses that (because it
        holds tensors of its own in a lower precision) it is evaluated in the precision of its inputs.
    coarsest : dtype
        The lowest precision of the floating inputs. Scalars do not count, since NumPy adapts them to the arrays.
    loss : float
        Value of the last evaluation.
    """

    def __init__(self, reference: Callable[..., Any], inputs: Mapping[str, Any], wanted: list[str], seed: int) -> None:
        self.reference = reference
        self.inputs = inputs
        self.wanted = wanted
        self.seed = seed
        strong = [value.dtype for value in inputs.values() if isinstance(value, np.ndarray) and is_floating(value)]
        self.coarsest = max(strong, key=lambda dtype: np.finfo(dtype).eps, default=np.dtype(np.float64))
        self.lifted = True
        self.loss = float("nan")

    def at(self, inputs: Mapping[str, Any]) -> "Autograd":
        """Return the same at another point."""
        other = Autograd(self.reference, inputs, self.wanted, self.seed)
        other.lifted = self.lifted
        return other

    def gradients(self, *modes: TorchDispatchMode, native: bool = False) -> Gradients:
        """Return the gradients of the wanted inputs; an input that the loss does not use has gradient zero.

        Parameters
        ----------
        *modes : TorchDispatchMode
            Each sees, and may change, every operation of the forward and the backward pass; the last one first.
            Ties belong to the forward pass alone: the backward pass follows it.
        native : bool
            Evaluate each input in its own precision all the same.
        """
        loss, leaves = self._loss(modes, native)
        backward = tuple(mode for mode in modes if not isinstance(mode, Recorder | TieBreak | HoldDecisions))
        with _quiet(self._default(native)), _stacked(backward):
            found = torch.autograd.grad(loss, [leaves[name] for name in self.wanted], allow_unused=True)
        return {
            name: np.zeros(leaves[name].shape) if gradient is None else gradient.detach().double().numpy()
            for name, gradient in zip(self.wanted, found, strict=True)
        }

    def depths(self) -> dict[str, int]:
        """Return how many operations lie between each wanted input and the loss."""
        loss, leaves = self._loss((), False)
        distance: dict[Any, int] = {}
        layer = [loss.grad_fn]
        while layer:
            fresh = [node for node in dict.fromkeys(layer) if node is not None and node not in distance]
            distance |= dict.fromkeys(fresh, max(distance.values(), default=-1) + 1)
            layer = [parent for node in fresh for parent, _ in node.next_functions]
        found = {id(node.variable): steps for node, steps in distance.items() if hasattr(node, "variable")}
        return {name: found[id(leaves[name])] for name in self.wanted if id(leaves[name]) in found}

    def _default(self, native: bool) -> torch.dtype:
        exact = (self.lifted and not native) or self.coarsest.itemsize > 8
        return torch.float64 if exact else torch.from_numpy(np.empty(0, self.coarsest)).dtype

    def _loss(self, modes: tuple[TorchDispatchMode, ...], native: bool) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        tensors = {name: _tensor(value, self.lifted and not native) for name, value in self.inputs.items()}
        for mode in modes:
            if isinstance(mode, RoundingNoise):
                mode.inputs = {value.untyped_storage().data_ptr() for value in tensors.values()}
        leaves = {name: value.requires_grad_() for name, value in tensors.items() if value.is_floating_point()}
        with _quiet(self._default(native)), _seeded(self.seed), _stacked(modes):
            loss = self.reference(**tensors)
        scalar = _checked(loss)
        self.loss = float(scalar.detach())
        return scalar, leaves


def is_floating(value: Any) -> bool:
    """Say whether an input is differentiated."""
    return np.asarray(value).dtype.kind == "f"


def _tensor(value: Any, lift: bool) -> torch.Tensor:
    array = np.asarray(value)
    if array.dtype.kind == "f" and (lift or array.dtype.itemsize > 8):
        dtype: np.dtype[Any] = np.dtype(np.float64)
    elif array.dtype.kind == "u" and array.dtype.itemsize > 1:
        dtype = np.dtype(np.int64)
    else:
        dtype = array.dtype.newbyteorder("=")
    return torch.from_numpy(np.array(array, dtype=dtype, order="C"))


def _checked(loss: Any) -> torch.Tensor:
    if not isinstance(loss, torch.Tensor):
        raise TypeError(f"reference must return a scalar tensor, but it returned {type(loss).__name__}")
    if loss.numel() != 1:
        raise ValueError(f"reference must return a scalar loss, but its shape is {tuple(loss.shape)}")
    if not loss.is_floating_point():
        raise TypeError(f"reference must return a floating loss, but its dtype is {loss.dtype}")
    if not loss.requires_grad:
        raise ValueError("the loss of reference depends on none of the floating inputs: is it detached?")
    return loss.reshape(())


@contextmanager
def _stacked(modes: tuple[TorchDispatchMode, ...]) -> Iterator[None]:
    with ExitStack() as stack:
        for mode in modes:
            stack.enter_context(mode)
        yield


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
    """Let tensors that the loss creates have the precision of the evaluation; hide its warnings."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.set_default_dtype(before)
