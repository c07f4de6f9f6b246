"""Two ways to do the reference's arithmetic differently: with a little noise on every result, and with naive sums.

Both watch every operation that PyTorch dispatches, in the forward and in the backward pass, so that the rounding of
intermediate results counts and not only that of the inputs.
"""

import math
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch._decomp import decomposition_table
from torch.utils._python_dispatch import TorchDispatchMode

from torch_reference.decisions import outcomes

CONTRACTIONS = {"mm": 0, "bmm": 0, "mv": 0, "dot": 0, "addmm": 1, "baddbmm": 1, "addmv": 1}  # where the first factor is
SOLVERS = {
    "_linalg_solve_ex", "linalg_lu_factor_ex", "linalg_lu", "linalg_lu_solve", "linalg_solve_triangular", "linalg_inv_ex",
    "linalg_cholesky_ex", "cholesky_solve", "cholesky_inverse", "_linalg_det", "_linalg_slogdet", "_linalg_eigh",
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
    "isfinite logical_and logical_or logical_not argmax argmin any all nonzero heaviside ceil floor round trunc pixel_shuffle "
    "channel_shuffle bernoulli bernoulli_ rand rand_like randn randn_like native_dropout normal_ uniform_".split()
)
# Fused kernels hide their intermediate results, and some of these nearly cancel. A closer look computes them by steps.
FUSED = set(
    "_log_softmax _log_softmax_backward_data _softmax _softmax_backward_data logsumexp logaddexp xlogy "
    "native_layer_norm native_layer_norm_backward native_batch_norm native_batch_norm_backward _native_batch_norm_legit "
    "native_group_norm native_group_norm_backward var var_mean std std_mean addcmul addcdiv "
    "gelu gelu_backward silu silu_backward elu elu_backward mish mish_backward sigmoid_backward tanh_backward glu "
    "glu_backward _fused_rms_norm _fused_rms_norm_backward linalg_vector_norm mse_loss mse_loss_backward huber_loss huber_loss_backward smooth_l1_loss smooth_l1_loss_backward "
    "binary_cross_entropy binary_cross_entropy_backward".split()
)
# Derivatives between 0 and 1 that are computed without cancellation even by steps, while 1 - sigmoid(z) written out rounds
# absolutely: their noise is relative to the upstream gradient, the first operand.
ACTIVATIONS = {"log_sigmoid_backward", "softplus_backward"}
EXPONENT = 80.0  # exp of this is finite in every precision but float16
ACCUMULATIONS = {"index_put", "index_put_", "_index_put_impl_", "_unsafe_index_put"}
BITS = {torch.float64: torch.int64, torch.float32: torch.int32, torch.float16: torch.int16}


class RoundingNoise(TorchDispatchMode):
    """Multiply every result of floating arithmetic by 1 + amplitude * r, with r uniform in [-1, 1).

    This is Monte Carlo arithmetic (Parker, 1997): the scatter of the final result over several seeds is the error that
    rounding by `amplitude` causes to first order. A sum of n terms t_k in sequence rounds each partial sum; for terms of
    random sign that is an error of amplitude * sqrt(n / 2) * sqrt(sum t_k^2), for terms of one sign
    amplitude * sqrt(n / 3) * |sum t_k|: hence the noise on the operands and on the result of sums and products of matrices.

    r is a hash of the value's bits: equal values stay equal, and zeros zero, so that ties and dead units survive.

    Parameters
    ----------
    amplitude : float
        Relative size of the noise.
    seed : int
        Seed of the hash.
    finite : bool
        Whether the computation meets no infinity or NaN; saves looking for them.
    decompose : bool
        Give noise to every step inside the operations that PyTorch fuses, too.

    Attributes
    ----------
    decisions : int
        Checksum of all decisions that the computation took (which side of zero, which one is the largest).
    coarsest : float
        Machine epsilon of the lowest precision seen.
    finite : bool
        Whether no result was infinite or NaN, found out where the amplitude is zero.
    inputs : set of int
        Addresses of the inputs. Only sums get them without noise of their own.
    """

    def __init__(self, amplitude: float, seed: int, finite: bool = False, decompose: bool = False) -> None:
        super().__init__()
        self.amplitude = amplitude
        self.decompose = decompose
        self.finite = finite
        self.inputs: set[int] = set()
        self.multiplier = int(np.random.default_rng(seed).integers(2**63)) * 2 + 1
        self.salt = 0
        self.decisions = 0
        self.coarsest = 0.0

    def jitter(self, tensor: torch.Tensor, terms: float = 1.0, scale: torch.Tensor | None = None) -> torch.Tensor:
        """Return the tensor with noise of size amplitude * sqrt(terms), relative to itself or to `scale`."""
        if tensor.dtype not in BITS or self.amplitude == 0:
            return tensor
        return self._with(self._noise(tensor), tensor, terms, tensor if scale is None else scale)

    def _partial_sums(self, tensor: torch.Tensor, axes: tuple[int, ...], terms: float | torch.Tensor) -> torch.Tensor:
        """Return an operand with the noise of the partial sums over some of its axes.

        The noise of a term depends on its place in the sum too, so that equal terms round differently, but equal rows do
        not.
        """
        if tensor.dtype not in BITS or self.amplitude == 0 or not tensor.dim():
            return tensor
        shape = [size if axis in axes else 1 for axis, size in enumerate(tensor.shape)]
        places = torch.arange(math.prod(shape), dtype=BITS[tensor.dtype]).reshape(shape)
        noise = self._noise(tensor, places)
        if isinstance(terms, torch.Tensor):
            return self._with(noise.mul_(terms.to(tensor.dtype).sqrt_()), tensor, 0.5, tensor)
        return self._with(noise, tensor, terms / 2, tensor)

    def _by_row(self, product: torch.Tensor, terms: float) -> torch.Tensor:
        """Give each row of a product of matrices a common noise, in place: one pass over what may be large."""
        if product.dtype not in BITS or self.amplitude == 0 or not product.numel():
            return product
        first = product[..., :1] if product.dim() else product
        size = self.amplitude * math.sqrt(terms) * 2.0 ** (1 - torch.finfo(product.dtype).bits)
        return product.mul_(self._noise(first).mul_(size).add_(1.0))

    def _with(self, noise: torch.Tensor, tensor: torch.Tensor, terms: float, scale: torch.Tensor) -> torch.Tensor:
        """Return tensor + amplitude * sqrt(terms) * noise * scale; infinities stay."""
        size = self.amplitude * math.sqrt(terms) * 2.0 ** (1 - torch.finfo(tensor.dtype).bits)
        result = torch.addcmul(tensor, noise, scale, value=size)
        return result if self.finite else torch.where(torch.isfinite(tensor), result, tensor)

    def _noise(self, tensor: torch.Tensor, places: torch.Tensor | None = None) -> torch.Tensor:
        """Return a hash of the values: integers that fill the width of the dtype evenly, as floating numbers."""
        integers = BITS[tensor.dtype]
        width = torch.iinfo(integers).bits
        multiplier = ((self.multiplier ^ self.salt) >> (64 - width)) | 1
        multiplier -= 2**width if multiplier >> (width - 1) else 0
        odd: Any = multiplier if places is None else 2 * (places * multiplier) + 1
        return (tensor.contiguous().view(integers) * odd).to(tensor.dtype)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one operation with noise."""
        name = func._schema.name.removeprefix("aten::")
        if self.decompose:  # equal results of different operations were rounded apart
            self.salt = zlib.crc32(name.encode()) * 0x100000001
        terms, place, axes = partial_sums(name, args)
        noisy = list(args)
        if axes:
            noisy[place] = self._partial_sums(args[place], axes, terms)
            terms = terms if isinstance(terms, float | int) else 1.0
        elif self.amplitude and name not in SELECTIONS and not any(returned.alias_info for returned in func._schema.returns):
            noisy = [self.jitter(operand) if self._is_input(operand) else operand for operand in args]
        result = self._steps(func, noisy, kwargs) if self._is_fused(func, name) else func(*noisy, **(kwargs or {}))
        results = result if isinstance(result, tuple) else (result,)
        self._note_decisions(name, args, results)
        for tensor in results:
            if isinstance(tensor, torch.Tensor) and tensor.is_floating_point() and tensor.dim() and not self.amplitude:
                self.coarsest = max(self.coarsest, torch.finfo(tensor.dtype).eps)
                self.finite = self.finite and bool(torch.isfinite(tensor.sum()))
        if name in SELECTIONS or len(results) != len(func._schema.returns):
            return result
        scale = args[0] if name in ACTIVATIONS else None
        results = tuple(
            self._rounded(tensor, returned.alias_info, max(1.0, terms / 3), scale)
            for tensor, returned in zip(results, func._schema.returns, strict=True)
        )
        return results if isinstance(result, tuple) else results[0]

    def _is_fused(self, func: Any, name: str) -> bool:
        return self.decompose and name in FUSED and func in decomposition_table

    def _steps(self, func: Any, args: list[Any], kwargs: dict[str, Any] | None) -> Any:
        """Run a fused operation by steps, each with noise; the decisions inside are not those of the loss."""
        decisions = self.decisions
        with self:
            result = decomposition_table[func](*args, **(kwargs or {}))
        self.decisions = decisions
        return result

    def _note_decisions(self, name: str, args: tuple[Any, ...], results: tuple[Any, ...]) -> None:
        for decision in outcomes(name, args, results):
            self.decisions = zlib.crc32(decision.numpy().tobytes(), self.decisions)

    def _is_input(self, operand: Any) -> bool:
        return isinstance(operand, torch.Tensor) and operand.untyped_storage().data_ptr() in self.inputs

    def _rounded(self, result: Any, alias: Any, terms: float, scale: torch.Tensor | None) -> Any:
        """Return a result with noise: a fresh tensor, the one written to, or (a view) nothing new."""
        if not isinstance(result, torch.Tensor) or result.dtype not in BITS:
            return result
        if alias is None:
            return self._by_row(result, terms) if terms > 1 else self.jitter(result, terms, scale)
        if alias.is_write:
            result.copy_(self.jitter(result))
        return result


class NaiveSums(TorchDispatchMode):
    """Add up every sum and matrix product term by term, in the order of the terms and the precision of the tensors.

    A loop over the examples does that. Its error can grow like the number of terms when they are all alike, which no
    random noise shows.
    """

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one operation, a sum term by term."""
        name = func._schema.name.removeprefix("aten::")
        if name in {"sum", "mean"} and args[0].is_floating_point() and args[0].numel():
            dims = _summed(args)
            kept = [dim for dim in range(args[0].dim()) if dim not in dims]
            terms = args[0].permute(*dims, *kept).reshape(-1, *[args[0].shape[dim] for dim in kept])
            total = _running(term for term in terms)
            shape = [1 if dim in dims else size for dim, size in enumerate(args[0].shape)]
            total = total.reshape(shape) if len(args) > 2 and args[2] else total
            return total / len(terms) if name == "mean" else total
        if name in {"mm", "bmm", "addmm", "baddbmm"}:
            left, right = args[CONTRACTIONS[name]], args[CONTRACTIONS[name] + 1]
            if left.shape[-1]:
                pairs = zip(left.unbind(-1), right.unbind(-2), strict=True)
                total = _running(column.unsqueeze(-1) * row.unsqueeze(-2) for column, row in pairs)
                return total if name in {"mm", "bmm"} else total + args[0]
        return func(*args, **(kwargs or {}))


class ExactSoftplus(TorchDispatchMode):
    """Compute log(1 + exp(z)) everywhere, where PyTorch returns z itself beyond a threshold of 20: an error of 2e-9."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run one operation; softplus without its threshold as far as its exponential does not overflow."""
        name = func._schema.name.removeprefix("aten::")
        place = {"softplus": 2, "softplus_backward": 3}.get(name)
        if place is not None and len(args) > place:
            args = (*args[:place], EXPONENT, *args[place + 1 :])
        elif name == "softplus":
            args = (args[0], args[1] if len(args) > 1 else 1, EXPONENT)
        return func(*args, **(kwargs or {}))


def _running(terms: Iterable[torch.Tensor]) -> torch.Tensor:
    iterator = iter(terms)
    total = next(iterator).clone()
    for term in iterator:
        total += term
    return total


def _summed(args: tuple[Any, ...]) -> list[int]:
    dims = args[1] if len(args) > 1 and args[1] else range(args[0].dim())
    return [dim % max(1, args[0].dim()) for dim in dims]


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
    if name == "convolution_backward":
        grad, _, weight = args[:3]
        spatial = tuple(axis for axis in range(grad.dim()))
        return max(grad.numel() / max(1, grad.shape[1]), weight.numel() / max(1, weight.shape[1])), 0, spatial
    if name in {"sum", "mean"}:
        axes = tuple(_summed(args))
        return math.prod(args[0].shape[axis] for axis in axes), 0, axes
    if name in SOLVERS:  # elimination adds up n products for each entry, of numbers that may have grown
        return 4.0 * args[0].shape[-1], 0, (args[0].dim() - 2, args[0].dim() - 1)
    if name == "embedding_dense_backward":
        return _repeats(args[1], args[0].dim()), 0, tuple(range(args[1].dim()))
    if name in ACCUMULATIONS and len(args) > 3 and args[3] and args[2].dim() and len(args[1]) == 1:
        return _repeats(args[1][0], args[2].dim()), 2, tuple(range(min(args[1][0].dim(), args[2].dim())))
    if name == "cumsum" and args[0].dim():
        return args[0].shape[args[1]], 0, (args[1] % args[0].dim(),)
    return 1.0, 0, ()


def _repeats(indices: torch.Tensor, dims: int) -> torch.Tensor:
    """Return how often each index occurs: so many terms are added up where it points to."""
    _, places, counts = indices.unique(return_inverse=True, return_counts=True)
    return counts[places].reshape(*indices.shape, *[1] * (dims - indices.dim()))
