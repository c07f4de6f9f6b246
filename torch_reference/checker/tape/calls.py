"""Functions that PyTorch dispatches by smaller operations only, written out as `formulas` are."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from torch_reference.checker.tape.formulas import reduced


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Any:
    """Scaled dot-product attention."""
    if dropout_p or enable_gqa:
        return NotImplemented
    products = query @ key.transpose(-1, -2)
    scores = products * (query.shape[-1] ** -0.5 if scale is None else scale)
    if is_causal:
        future = torch.ones(scores.shape[-2:], dtype=torch.bool).triu(1)
        scores = scores.masked_fill(future, -torch.inf)
    if attn_mask is not None:
        hidden = attn_mask.dtype == torch.bool
        scores = scores.masked_fill(~attn_mask, -torch.inf) if hidden else scores + attn_mask
    weights = torch.softmax(scores, -1)
    return weights @ value


def binary_cross_entropy_with_logits(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
    pos_weight: Tensor | None = None,
) -> Any:
    """Cross-entropy of sigmoid(logits)."""
    if any(each is not None for each in (weight, size_average, reduce, pos_weight)):
        return NotImplemented
    p = torch.sigmoid(logits)
    losses = -(target * torch.log(p) + (1 - target) * torch.log(1 - p))
    return reduced(losses, reduction)


def binary_cross_entropy(
    p: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: Any = None,
    reduce: Any = None,
    reduction: str = "mean",
) -> Any:
    """Cross-entropy of probabilities."""
    if any(each is not None for each in (weight, size_average, reduce)):
        return NotImplemented
    losses = -(target * torch.log(p) + (1 - target) * torch.log(1 - p))
    return reduced(losses, reduction)


def smoothed_cross_entropy(
    logits: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: Any = None,
    ignore_index: int = -100,
    reduce: Any = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Any:
    """Cross-entropy of rows and labels, a part of which is shared among all classes."""
    others = any(each is not None for each in (weight, size_average, reduce))
    if (
        others
        or not label_smoothing
        or target.is_floating_point()
        or logits.dim() != 2
        or (target == ignore_index).any()
    ):
        return NotImplemented
    logp = torch.log_softmax(logits, 1)
    right = -logp.gather(1, target.unsqueeze(1)).squeeze(1)
    smoothing = label_smoothing * (-logp.mean(1) - right)
    return reduced(right + smoothing, reduction)


CALLS: dict[Callable[..., Any], Callable[..., Any]] = {
    functional.scaled_dot_product_attention: attention,
    functional.binary_cross_entropy_with_logits: binary_cross_entropy_with_logits,
    functional.binary_cross_entropy: binary_cross_entropy,
    functional.cross_entropy: smoothed_cross_entropy,
}
