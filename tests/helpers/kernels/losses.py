"""Losses over rows: cross-entropy with what its users ask of it, softmax, and their like."""

from typing import Any

import torch
from torch.nn import functional

from kernels.common import Kernel, kernel, memory, normal, wide

IGNORED = -100


def cross_entropy(fault: str = "") -> Any:
    """The mean over the rows that count; gradient (softmax - one hot) / rows that count, times the upstream number."""

    def forward(ctx: Any, logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        z = wide(logits)
        counts = targets != IGNORED
        safe = targets.clamp_min(0)
        total = z.exp().sum(-1).log() if fault == "no maximum" else z.logsumexp(-1)
        losses = (total - z.gather(-1, safe[:, None])[:, 0]) * counts
        gradient = z.softmax(-1)
        if fault != "no target":
            gradient[torch.arange(len(z)), safe] -= 1
        if fault != "ignored rows":
            gradient *= counts[:, None]
        number = len(z) if fault == "all rows" else counts.sum()
        ctx.save_for_backward((gradient / number).to(logits.dtype) if fault == "early" else gradient / number)
        ctx.dtype = logits.dtype
        return (losses.sum() / counts.sum()).to(logits.dtype)

    def backward(ctx: Any, upstream: torch.Tensor) -> Any:
        (gradient,) = ctx.saved_tensors
        if fault == "no upstream":
            return gradient.to(ctx.dtype), None
        if fault == "in place":
            return gradient.mul_(upstream).to(ctx.dtype), None
        return (gradient * upstream).to(ctx.dtype), None

    return kernel(forward, backward)


def cross_entropy_reference(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return functional.cross_entropy(logits, targets, ignore_index=IGNORED)


def labelled(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Any]:
    targets = torch.randint(5, (7,), generator=generator)
    targets[2] = IGNORED
    return {"logits": 3 * normal(generator, 7, 5, dtype=dtype), "targets": targets}


def unreliable(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Any]:
    given = labelled(generator, dtype)
    return {**given, "logits": given["logits"] + 200}


def row_losses(fault: str = "") -> Any:
    """Cross-entropy of each row, with label smoothing."""

    def forward(ctx: Any, logits: torch.Tensor, targets: torch.Tensor, smoothing: float) -> torch.Tensor:
        z = wide(logits)
        ctx.save_for_backward(logits, targets)
        ctx.smoothing = smoothing
        log = z.log_softmax(-1)
        hard = -log.gather(-1, targets[:, None])[:, 0]
        return ((1 - smoothing) * hard - smoothing * log.mean(-1)).to(logits.dtype)

    def backward(ctx: Any, upstream: torch.Tensor) -> Any:
        logits, targets = ctx.saved_tensors
        g, z = wide(upstream, logits)
        aimed = torch.zeros_like(z).scatter_(-1, targets[:, None], 1.0)
        smoothing = 0.0 if fault == "hard" else ctx.smoothing
        classes = z.shape[-1] - 1 if fault == "classes" else z.shape[-1]
        gradient = z.softmax(-1) - (1 - smoothing) * aimed - smoothing / classes
        if fault == "first row":
            g = g[:1].expand_as(g)
        if fault == "mean":
            g = g.mean().expand_as(g)
        if fault == "memory":
            g = memory(upstream)
        return (gradient * g[:, None]).to(logits.dtype), None, None

    return kernel(forward, backward)


def row_losses_reference(logits: torch.Tensor, targets: torch.Tensor, smoothing: float) -> torch.Tensor:
    return functional.cross_entropy(logits, targets, reduction="none", label_smoothing=smoothing)


def smoothed(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Any]:
    return {
        "logits": normal(generator, 7, 5, dtype=dtype),
        "targets": torch.randint(5, (7,), generator=generator),
        "smoothing": 0.1,
    }


def softmax(fault: str = "") -> Any:
    """y (g - sum(g y)), from the output that is kept."""

    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        y = wide(x).softmax(-1).to(x.dtype)
        ctx.save_for_backward(y)
        return y

    def backward(ctx: Any, upstream: torch.Tensor) -> torch.Tensor:
        (y,) = ctx.saved_tensors
        g, p = wide(upstream, y)
        if fault == "diagonal":
            return (g * p * (1 - p)).to(y.dtype)
        if fault == "no sum":
            return (g * p).to(y.dtype)
        if fault == "wrong axis":
            return (p * (g - (g * p).sum(0, keepdim=True))).to(y.dtype)
        if fault == "sum of g":
            return (p * (g - g.sum(-1, keepdim=True) * p)).to(y.dtype)
        if fault == "overwrites its output":
            return y.copy_((p * (g - (g * p).sum(-1, keepdim=True))).to(y.dtype))
        return (p * (g - (g * p).sum(-1, keepdim=True))).to(y.dtype)

    return kernel(forward, backward)


def scores(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Any]:
    return {"x": 2 * normal(generator, 6, 6, dtype=dtype)}


def softmax_reference(x: torch.Tensor) -> torch.Tensor:
    return x.softmax(-1)


def divergence(fault: str = "") -> Any:
    """sum p log(p / q) over rows, for a target p and the logarithm of q."""

    def forward(ctx: Any, log_q: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(log_q, p)
        return (p * (p.log() - log_q)).sum(-1)

    def backward(ctx: Any, upstream: torch.Tensor) -> Any:
        log_q, p = ctx.saved_tensors
        g = upstream[:, None]
        grad_p = g * (p.log() - log_q + (0 if fault == "product rule" else 1))
        return (g * p if fault == "sign" else -g * p), grad_p

    return kernel(forward, backward)


def distributions(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Any]:
    p = normal(generator, 5, 4, dtype=torch.float64).softmax(-1).to(dtype)
    return {"log_q": normal(generator, 5, 4, dtype=torch.float64).log_softmax(-1).to(dtype), "p": p}


def divergence_reference(log_q: torch.Tensor, p: torch.Tensor) -> torch.Tensor:
    return (p * (p.log() - log_q)).sum(-1)


def with_logsumexp(fault: str = "") -> Any:
    """Two outputs: log softmax, and the logarithm of its denominator."""

    def forward(ctx: Any, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        total = wide(x).logsumexp(-1)
        ctx.save_for_backward(x)
        outputs = (wide(x) - total[:, None]).to(x.dtype), total.to(x.dtype)
        if fault == "constant":
            ctx.mark_non_differentiable(outputs[1])
        return outputs

    def backward(ctx: Any, upstream: torch.Tensor, upstream_total: torch.Tensor) -> torch.Tensor:
        (x,) = ctx.saved_tensors
        g, total, z = wide(upstream, upstream_total, x)
        p = z.softmax(-1)
        gradient = g - p * g.sum(-1, keepdim=True)
        if fault not in {"second ignored", "constant"}:
            gradient = gradient + p * total[:, None]
        return gradient.to(x.dtype)

    return kernel(forward, backward)


def with_logsumexp_reference(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return x.log_softmax(-1), x.logsumexp(-1)


C, ROWS, SOFT = cross_entropy_reference, row_losses_reference, softmax_reference
WRONG = "derivative path partial term"
FAULTS = [
    Kernel("cross-entropy forgets the target", cross_entropy("no target"), C, labelled, WRONG, "logits"),
    Kernel("cross-entropy counts ignored rows", cross_entropy("ignored rows"), C, labelled, WRONG, "logits"),
    Kernel("cross-entropy averages over all rows", cross_entropy("all rows"), C, labelled, "scale", "logits"),
    Kernel(
        "cross-entropy ignores its upstream gradient", cross_entropy("no upstream"), C, labelled, "upstream", "logits"
    ),
    Kernel(
        "cross-entropy scales what it saved in place", cross_entropy("in place"), C, labelled, "side-effect", "logits"
    ),
    Kernel(
        "cross-entropy does not subtract the maximum", cross_entropy("no maximum"), C, unreliable, "nonfinite", "output"
    ),
    Kernel("row losses smooth forward only", row_losses("hard"), ROWS, smoothed, WRONG, "logits"),
    Kernel("row losses divide by the other classes", row_losses("classes"), ROWS, smoothed, WRONG, "logits"),
    Kernel(
        "row losses use the first row's upstream gradient",
        row_losses("first row"),
        ROWS,
        smoothed,
        "upstream",
        "logits",
    ),
    Kernel("row losses average the upstream gradient", row_losses("mean"), ROWS, smoothed, "upstream", "logits"),
    Kernel(
        "row losses read the upstream gradient as contiguous", row_losses("memory"), ROWS, smoothed, "layout", "logits"
    ),
    Kernel("softmax has its diagonal alone", softmax("diagonal"), SOFT, scores, WRONG, "x"),
    Kernel("softmax forgets its sum", softmax("no sum"), SOFT, scores, WRONG, "x"),
    Kernel("softmax sums over rows", softmax("wrong axis"), SOFT, scores, WRONG, "x"),
    Kernel("softmax sums before it weighs", softmax("sum of g"), SOFT, scores, WRONG, "x"),
    Kernel("softmax overwrites its output", softmax("overwrites its output"), SOFT, scores, "side-effect", "x"),
    Kernel(
        "divergence forgets the product rule",
        divergence("product rule"),
        divergence_reference,
        distributions,
        WRONG,
        "p",
    ),
    Kernel("divergence has the wrong sign", divergence("sign"), divergence_reference, distributions, "sign", "log_q"),
    Kernel(
        "a second output's upstream gradient is ignored",
        with_logsumexp("second ignored"),
        with_logsumexp_reference,
        scores,
        "upstream",
        "x",
    ),
]
RIGHT = [
    Kernel("cross-entropy with ignored rows", cross_entropy(), C, labelled),
    Kernel("cross-entropy of large logits", cross_entropy(), C, unreliable),
    Kernel("cross-entropy keeps its gradient, rounded", cross_entropy("early"), C, labelled),
    Kernel("row losses with smoothing", row_losses(), ROWS, smoothed),
    Kernel("softmax keeps its output", softmax(), SOFT, scores),
    Kernel("divergence", divergence(), divergence_reference, distributions),
    Kernel("log softmax with its denominator", with_logsumexp(), with_logsumexp_reference, scores),
    Kernel("log softmax with a constant denominator", with_logsumexp("constant"), with_logsumexp_reference, scores),
]
