"""What PyTorch's operations do with numbers: which of them add up, which only select, and which hide steps.

The names are those of the operators that PyTorch dispatches to, without their namespace.
"""

import math
from typing import Any

import torch

# Products of matrices, and where their first factor is.
CONTRACTIONS = {"mm": 0, "bmm": 0, "mv": 0, "dot": 0, "addmm": 1, "baddbmm": 1, "addmv": 1}
SOLVERS = {
    "_linalg_solve_ex", "linalg_lu_factor_ex", "linalg_lu", "linalg_lu_solve", "linalg_solve_triangular",
    "linalg_inv_ex", "linalg_cholesky_ex", "cholesky_solve", "cholesky_inverse", "_linalg_det",
    "_linalg_slogdet", "_linalg_eigh",
    "_linalg_svd", "linalg_qr", "linalg_lstsq", "triangular_solve",
}  # fmt: skip
# These choose among their operands' values or move them, and so do not round.
SELECTIONS = set(
    "relu relu_ clone copy_ detach abs neg sign sgn where gather index index_select take cat stack amax amin max min "
    "maximum minimum fmax fmin clamp clamp_ clamp_min clamp_min_ clamp_max clamp_max_ threshold threshold_backward "
    "hardtanh hardtanh_ hardtanh_backward max_pool2d_with_indices max_pool2d_with_indices_backward "
    "max_pool3d_with_indices sort topk kthvalue median nanmedian mode cummax cummin flip roll repeat tril triu "
    "constant_pad_nd reflection_pad1d reflection_pad2d replication_pad1d replication_pad2d masked_fill masked_fill_ "
    "masked_select masked_scatter scatter slice_scatter select_scatter select_backward slice_backward diag_embed "
    "diagonal_backward unfold_backward value_selecting_reduction_backward embedding zeros ones full arange eye "
    "zeros_like ones_like full_like new_zeros new_ones new_full empty empty_like scalar_tensor fill fill_ zero_ "
    "_to_copy lift_fresh lift_fresh_copy view_copy _unsafe_view gt ge lt le eq ne isnan isinf "
    "isfinite logical_and logical_or logical_not argmax argmin any all nonzero heaviside ceil floor round trunc "
    "pixel_shuffle channel_shuffle bernoulli bernoulli_ rand rand_like randn randn_like native_dropout normal_ "
    "uniform_".split()
)
# Fused kernels hide their intermediate results, and some of these nearly cancel. A closer look computes them by steps.
FUSED = set(
    "_log_softmax _log_softmax_backward_data _softmax _softmax_backward_data logsumexp logaddexp xlogy "
    "native_layer_norm native_layer_norm_backward native_batch_norm native_batch_norm_backward "
    "_native_batch_norm_legit "
    "native_group_norm native_group_norm_backward var var_mean std std_mean addcmul addcdiv "
    "gelu gelu_backward silu silu_backward elu elu_backward mish mish_backward sigmoid_backward tanh_backward glu "
    "glu_backward _fused_rms_norm _fused_rms_norm_backward linalg_vector_norm mse_loss mse_loss_backward "
    "huber_loss huber_loss_backward smooth_l1_loss smooth_l1_loss_backward "
    "binary_cross_entropy binary_cross_entropy_backward".split()
)
# Derivatives between 0 and 1 that are computed without cancellation even by steps, while 1 - sigmoid(z) written out
# rounds absolutely: their noise is relative to the upstream gradient, the first operand.
ACTIVATIONS = {"log_sigmoid_backward", "softplus_backward"}
# Backward passes of several inputs at once, of which some are added up over other axes than others.
SUMS_BY_RESULT = {
    "convolution_backward", "native_layer_norm_backward", "_fused_rms_norm_backward", "native_batch_norm_backward",
    "native_group_norm_backward",
}  # fmt: skip
ROWS = {"native_layer_norm_backward", "_fused_rms_norm_backward"}  # those that normalise the last axes
ACCUMULATIONS = {"index_put", "index_put_", "_index_put_impl_", "_unsafe_index_put"}


def partial_sums(name: str, args: tuple[Any, ...]) -> tuple[float | torch.Tensor, int, tuple[int, ...]]:
    """Say how many terms an operation adds up for each entry of its result, over which axes of which operand.

    Of two operands the smaller one is named.
    """
    if name in CONTRACTIONS:
        first = CONTRACTIONS[name]
        left, right = args[first], args[first + 1]
        terms = left.shape[-1]
        if left.numel() <= right.numel():
            return terms, first, (left.dim() - 1,)
        return terms, first + 1, (max(0, right.dim() - 2),)
    if name == "convolution":
        return args[1].numel() / max(1, args[1].shape[0]), 1, tuple(range(1, args[1].dim()))
    if name in {"sum", "mean"}:
        axes = tuple(summed_axes(args))
        return math.prod(args[0].shape[axis] for axis in axes), 0, axes
    if name in SOLVERS:  # elimination adds up n products for each entry, of numbers that may have grown
        return 4.0 * args[0].shape[-1], 0, (args[0].dim() - 2, args[0].dim() - 1)
    if name == "embedding_dense_backward":
        return _repeats(args[1], args[0].dim()), 0, tuple(range(args[1].dim()))
    if name in ACCUMULATIONS and len(args) > 3 and args[3] and len(args[1]) == 1:
        (indices,), values = args[1:3]
        terms = _repeats(indices, values.dim())
        if values.shape[: indices.dim()] != indices.shape:  # values are spread out over the indices
            terms = terms.amax().expand(values.shape) if terms.numel() else torch.ones(values.shape)
        return terms, 2, tuple(range(min(indices.dim(), values.dim())))
    if name == "cumsum" and args[0].dim():
        return args[0].shape[args[1]], 0, (args[1] % args[0].dim(),)
    return 1.0, 0, ()


def sums_by_result(name: str, args: tuple[Any, ...]) -> list[tuple[float, tuple[int, ...]]]:
    """Say over which axes of the upstream gradient a backward pass with several results adds up each of them.

    Returns
    -------
    list of (float, tuple of int)
        How many terms, and the axes. An empty list for any other operation.
    """
    if name not in SUMS_BY_RESULT:
        return []
    gradient = args[0]
    axes = tuple(axis for axis in range(gradient.dim()) if axis != 1)
    if name in ROWS:
        axes = tuple(range(gradient.dim() - len(args[2])))
    terms = float(math.prod(gradient.shape[axis] for axis in axes))
    if name == "convolution_backward":  # each input meets all of the kernel, in each channel of the output
        return [(args[2].numel() / max(1, args[2].shape[1]), (1,)), (terms, axes), (terms, axes)]
    return [(1.0, ()), *[(terms, axes)] * (len(args[-1]) - 1)]


def centred_axes(name: str, args: tuple[Any, ...]) -> tuple[int, ...]:
    """Return over which axes a normalisation's backward pass subtracts means; none for other operations."""
    dims = range(args[0].dim())
    if name in ROWS:
        return tuple(dims[-len(args[2]) :])
    return {
        "native_batch_norm_backward": tuple(axis for axis in dims if axis != 1),
        "native_group_norm_backward": tuple(dims[2:]),
    }.get(name, ())


def _repeats(indices: torch.Tensor, dims: int) -> torch.Tensor:
    """Return how often each index occurs: so many terms are added up where it points to."""
    _, places, counts = indices.unique(return_inverse=True, return_counts=True)
    return counts[places].reshape(*indices.shape, *[1] * (dims - indices.dim()))


def summed_axes(args: tuple[Any, ...]) -> list[int]:
    """Return the axes that a sum or a mean with these arguments goes over."""
    dims = args[1] if len(args) > 1 and args[1] else range(args[0].dim())
    return [dim % max(1, args[0].dim()) for dim in dims]
