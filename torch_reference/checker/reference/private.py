"""What the check needs of PyTorch that PyTorch does not document, so that a new version breaks one file at most.

`pyproject.toml` names the versions that were tested, and a test asks each of them for every operator that the check
knows by name.
"""

from typing import Any

import torch
from torch._decomp import decomposition_table
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

__all__ = [
    "TorchDispatchMode",
    "TreeSpec",
    "arguments_of",
    "decomposition",
    "name_of",
    "outside_modes",
    "overload_of",
    "pure",
    "returns_of",
    "tree_flatten",
    "tree_unflatten",
]
outside_modes = _disable_current_modes


def name_of(operator: Any) -> str:
    """Return the name of an operator without its overload, one of PyTorch without its namespace too."""
    return str(operator._schema.name).removeprefix("aten::")


def returns_of(operator: Any) -> list[Any]:
    """Return for each result of an operator None if it is fresh, else an object with `is_write`."""
    return [returned.alias_info for returned in operator._schema.returns]


def decomposition(operator: Any) -> Any:
    """Return the function that computes an operator by smaller ones, or None."""
    return decomposition_table.get(operator)


def overload_of(operator: Any) -> str:
    """Return the name of an operator with its overload: var.correction."""
    return f"{name_of(operator)}.{operator._schema.overload_name}"


def arguments_of(operator: Any) -> list[str]:
    """Return the names of an operator's arguments."""
    return [argument.name for argument in operator._schema.arguments]


def pure(operator: Any) -> Any:
    """Return the operator that computes what one that works in place computes; the same if it does not."""
    if not operator._schema.is_mutable:
        return operator
    return getattr(
        getattr(torch.ops.aten, name_of(operator).removesuffix("_")), operator._schema.overload_name or "default"
    )
