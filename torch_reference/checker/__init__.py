"""The check of hand-derived gradients against autograd. Imports no other room.

Whoever is higher knows those below: the faces for NumPy (`gradients`, with `manual`, which calls what is tested) and
for PyTorch (`functions`) -> `reporting` -> `judge` -> `kinks`, `causes` -> `budget` -> `rounding`, `case` ->
`reference`, `blocks` -> `formats`. `report` knows results only.
"""

from torch_reference.checker.functions.face import assert_function_matches, crosscheck_function
from torch_reference.checker.gradients import assert_gradients_match, crosscheck
from torch_reference.checker.report.results import Report

__all__ = ["Report", "assert_function_matches", "assert_gradients_match", "crosscheck", "crosscheck_function"]
