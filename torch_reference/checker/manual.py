"""The side under test: call `manual` on copies of the inputs, and see that what goes in and comes out makes sense."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from torch_reference.checker.case import Given
from torch_reference.checker.formats import FLOAT64, Array, format_of
from torch_reference.checker.reference.evaluation import Reference, is_floating

Manual = Callable[..., Mapping[str, Any]]
Raw = dict[str, NDArray[Any]]


def check_inputs(inputs: Mapping[str, Any]) -> None:
    """Raise an error that says what is wrong with the inputs, if anything is."""
    for name, value in inputs.items():
        if not isinstance(value, np.ndarray | np.generic | float | int):
            raise TypeError(f"input {name!r} is of type {type(value).__name__}, not a NumPy array: wrap it in np.array")
        if np.asarray(value).dtype.kind not in "fiub":
            raise TypeError(f"input {name!r} has dtype {np.asarray(value).dtype}: only real numbers can be checked")
    if not any(is_floating(value) for value in inputs.values()):
        raise ValueError("none of the inputs is a floating array: there is nothing to differentiate by")


def called(manual: Manual, inputs: Mapping[str, Any]) -> tuple[Raw, set[str]]:
    """Call manual on copies; return its gradients and the names of the inputs that it changed."""
    given = {name: value.copy(order="K") if isinstance(value, np.ndarray) else value for name, value in inputs.items()}
    returned = manual(**given)
    gradients = copied(returned, inputs)
    changed = {name for name, value in inputs.items() if isinstance(value, np.ndarray) and _differ(value, given[name])}
    return gradients, changed


def _differ(one: NDArray[Any], other: NDArray[Any]) -> bool:
    if one.shape != other.shape:
        return True
    same = one == other
    return not (same.all() or (same | ((one != one) & (other != other))).all())  # NaN is not itself


def copied(returned: Any, inputs: Mapping[str, Any]) -> Raw:
    """Return copies of the gradients that manual returned, or raise an error that says what is wrong with them."""
    if not isinstance(returned, Mapping):
        raise TypeError(f"manual must return a dict of gradients, but it returned {type(returned).__name__}")
    if not returned:
        raise ValueError("manual returned an empty dict: there is no gradient to check")
    gradients: Raw = {}
    for name, value in returned.items():
        if name not in inputs:
            raise ValueError(
                f"manual returned a gradient for {name!r}, which is not an input: they are {', '.join(inputs)}"
            )
        if not is_floating(inputs[name]):
            dtype = np.asarray(inputs[name]).dtype
            raise ValueError(f"manual returned a gradient for {name!r}, which is a constant of dtype {dtype}")
        try:
            array = np.array(value)
        except ValueError:
            array = np.array(None)
        if array.dtype.kind not in "fiub":
            kind = f"{type(value).__name__} ({array.dtype})"
            raise TypeError(f"the gradient for {name!r} is of type {kind}, not an array of real numbers")
        gradients[name] = array
    return gradients


def given(gradients: Raw) -> dict[str, Given]:
    """Return the gradients for the judge; whole numbers count as float64."""
    return {
        name: Given(value, format_of(value.dtype))
        if value.dtype.kind == "f"
        else Given(value.astype(np.float64), FLOAT64)
        for name, value in gradients.items()
    }


def elsewhere(
    manual: Manual, reference: Reference, wanted: Collection[str], seed: int, amount: float, everything: bool
) -> tuple[dict[str, Array], dict[str, Any]] | None:
    """Return the gradients where the inputs are moved by a relative amount, and those inputs.

    `manual` or `reference` may refuse them, as targets that must add up to 1: then, or if not everything is asked for,
    only the inputs that `manual` is differentiated by move. If these are refused too, there is no answer.
    """
    inputs = reference.inputs
    floating = [name for name, value in inputs.items() if is_floating(value)]
    for names in (floating, wanted) if everything else (wanted,):
        rng = np.random.default_rng(seed)
        moved = {name: _moved(value, rng, amount) if name in names else value for name, value in inputs.items()}
        try:
            gradients, _ = called(manual, moved)
            reference.at(moved).loss()
        except Exception:  # noqa: S112 (whatever it is, it is about values that nobody asked for)
            continue
        return {name: value.astype(np.float64) for name, value in gradients.items()}, moved
    return None


def _moved(value: Any, rng: np.random.Generator, amount: float) -> NDArray[Any]:
    array = np.asarray(value)
    return np.asarray(array * (1 + amount * rng.uniform(-1, 1, array.shape)), array.dtype)
