"""The network in PyTorch, and a check of hand-derived gradients against autograd.

- `networks`: `ReferenceMLP`, the same network as an `nn.Module`;
- `optimizer`: `matched_sgd`, PyTorch's own SGD making exactly the assignment's update;
- `training`: the same training loop, on a CPU or a CUDA device;
- `checker`: `crosscheck`, which says whether a gradient is right to rounding and, if not, what went wrong.
"""

from torch_reference.checker import (
    Report,
    assert_function_matches,
    assert_gradients_match,
    crosscheck,
    crosscheck_function,
)
from torch_reference.networks import ReferenceMLP
from torch_reference.optimizer import matched_sgd

__all__ = [
    "ReferenceMLP",
    "Report",
    "assert_function_matches",
    "assert_gradients_match",
    "crosscheck",
    "crosscheck_function",
    "matched_sgd",
]
