"""The other witness: what PyTorch says, and how far a hand-derived gradient may be from it."""

from torch_reference.checking import assert_gradients_match, crosscheck
from torch_reference.report import Report

__all__ = ["Report", "assert_gradients_match", "crosscheck"]
