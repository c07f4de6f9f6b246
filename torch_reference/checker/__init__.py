"""The check of hand-derived gradients against autograd. Imports nothing of the networks beside it."""

from torch_reference.checker.gradients import assert_gradients_match, crosscheck
from torch_reference.checker.report.results import Report

__all__ = ["Report", "assert_gradients_match", "crosscheck"]
