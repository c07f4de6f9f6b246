"""What the check needs of PyTorch that PyTorch does not document, so that a new version breaks one file at most.

`pyproject.toml` names the versions that were tested, and a test asks each of them for every operator that the check
knows by name.
"""

from typing import Any

from torch._decomp import decomposition_table
from torch.utils._python_dispatch import TorchDispatchMode, _disable_current_modes

__all__ = ["TorchDispatchMode", "decomposition", "name_of", "outside_modes", "returns_of"]
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
