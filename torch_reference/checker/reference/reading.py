"""What the operations of PyTorch decide on: each is read as it is dispatched, by its name and its arguments."""

import zlib
from collections.abc import Iterator
from typing import Any

import torch
from torch.nn.functional import unfold

from torch_reference.checker.reference.decisions import Boundary, Contest, Decision, Order
from torch_reference.checker.reference.private import outside_modes

AT_ZERO = {"relu", "relu_", "leaky_relu", "leaky_relu_", "_prelu_kernel", "abs", "sgn", "sign", "elu", "elu_"}
AT_BOTH_SIGNS = {"softshrink": 0.5, "hardshrink": 0.5, "hardswish": 3.0, "hardsigmoid": 3.0}
AT_THRESHOLD = {"threshold", "threshold_"}
AT_LIMITS = {"clamp", "clamp_", "clamp_min", "clamp_min_", "clamp_max", "clamp_max_", "hardtanh", "hardtanh_"}
COMPARISONS = {"gt", "ge", "lt", "le", "eq", "ne", "maximum", "minimum", "fmax", "fmin"}
LARGEST = {"amax": 1, "max": 1, "argmax": 1, "amin": -1, "min": -1, "argmin": -1}
POOLS = {"max_pool2d_with_indices"}
ORDERS = {"sort", "topk", "kthvalue", "median", "cummax", "cummin", "max_pool3d_with_indices", "adaptive_max_pool2d"}
LOSSES = {"multi_margin_loss", "multilabel_margin_loss_forward"}
CHOICES = ORDERS | LOSSES | POOLS | LARGEST.keys()
DECIDING = AT_ZERO | AT_BOTH_SIGNS.keys() | AT_THRESHOLD | AT_LIMITS | COMPARISONS | CHOICES


def decided(name: str, args: tuple[Any, ...]) -> list[Decision]:
    """Return what an operation decides on."""
    if name not in DECIDING or not args or not isinstance(args[0], torch.Tensor) or not args[0].numel():
        return []
    if name in CHOICES and args[0].is_floating_point():
        if name in LARGEST:
            dims = args[1] if len(args) > 1 and args[1] is not None else []
            return [Contest(args[0], _slices(args[0], dims), LARGEST[name])]
        if name in POOLS:
            return [Contest(args[0], _pools(*args), 1)]
        return [Order(args[0])]
    return [Boundary(operand, limit) for operand, limit in _boundaries(name, args)]


def checksum(before: int, name: str, args: tuple[Any, ...], results: tuple[Any, ...]) -> int:
    """Add to a checksum how an operation decided."""
    if name not in DECIDING:
        return before
    with outside_modes():
        decisions = decided(name, args)
        for decision in decisions:
            before = zlib.crc32(type(decision).__name__.encode(), before)
        for outcome in _outcomes(decisions, name, args, results):
            before = zlib.crc32(outcome.cpu().numpy().tobytes(), before)
    return before


def _outcomes(
    decisions: list[Decision], name: str, args: tuple[Any, ...], results: tuple[Any, ...]
) -> Iterator[torch.Tensor]:
    """Yield how an operation decided, as tensors of integers or truth values."""
    for decision in decisions:
        yield from decision.outcomes()
    if name in ORDERS | POOLS | LARGEST.keys():
        yield from (result for result in results if isinstance(result, torch.Tensor) and result.dtype == torch.int64)
        if name in {"amax", "amin"}:
            best = args[0].amax if name == "amax" else args[0].amin
            yield args[0] == best(args[1] if len(args) > 1 else (), keepdim=True)
        elif len(results) == 1 and results[0].is_floating_point():
            yield args[0] == results[0]


def _boundaries(name: str, args: tuple[Any, ...]) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield each operand that an elementwise operation compares, and what with."""
    limits: list[Any] = []
    if name in AT_ZERO:
        limits = [0.0]
    elif name in AT_BOTH_SIGNS:
        limit = args[1] if len(args) > 1 else AT_BOTH_SIGNS[name]
        limits = [-limit, limit]
    elif name in AT_THRESHOLD:
        limits = [args[1]]
    elif name in AT_LIMITS:
        limits = list(args[1:3]) or [-1.0, 1.0]
    elif name in COMPARISONS:
        limits = [args[1]]
    operand = args[0]
    for limit in limits:
        other = torch.as_tensor(operand if limit is None else limit)
        if limit is None or not (operand.is_floating_point() or other.is_floating_point()):
            continue
        shape = torch.broadcast_shapes(operand.shape, other.shape)
        if operand.is_floating_point() and operand.shape == shape:
            yield operand, other.to(operand.dtype).expand(operand.shape)
        elif other.is_floating_point() and other.shape == shape:
            yield other, operand.to(other.dtype).expand(other.shape)


def _slices(operand: torch.Tensor, dims: int | list[int]) -> torch.Tensor:
    """Return the indices of the entries that a reduction over some axes compares, a row for each result."""
    axes = [dims] if isinstance(dims, int) else list(dims) or list(range(operand.dim()))
    index = torch.arange(operand.numel()).reshape(operand.shape)
    if operand.dim() == 0:
        return index.reshape(1, 1)
    axes = [axis % operand.dim() for axis in axes]
    kept = [axis for axis in range(operand.dim()) if axis not in axes]
    width = 1
    for axis in axes:
        width *= operand.shape[axis]
    return index.permute(*kept, *axes).reshape(-1, width)


def _pools(
    operand: torch.Tensor,
    kernel: Any,
    stride: Any = None,
    padding: Any = 0,
    dilation: Any = 1,
    *_: Any,
) -> torch.Tensor:
    """Return the indices of the entries that each window of a pooling compares."""
    height, width = operand.shape[-2:]
    one = torch.arange(1.0, height * width + 1, dtype=torch.float64).reshape(1, 1, height, width)
    windows = (
        unfold(one, _pair(kernel), _pair(dilation), _pair(padding), _pair(stride or kernel))[0].T.to(torch.int64) - 1
    )
    offsets = torch.arange(operand.numel() // (height * width)).reshape(-1, 1, 1) * (height * width)
    return torch.where(windows < 0, -1, windows + offsets).reshape(-1, windows.shape[-1])


def _pair(size: int | list[int]) -> tuple[int, ...]:
    return (size, size) if isinstance(size, int) else (size[0], size[-1])
