"""What moves entries: gathering, scattering, pooling, scans, rotations; functions that keep what they should not."""

from typing import Any

import torch
from torch.nn import functional

from kernels.common import Kernel, kernel, memory, normal, wide


def gather(fault: str = "") -> Any:
    """The rows of a table at some indices, as an embedding; rows that are taken twice get both gradients."""

    def forward(ctx: Any, table: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(index)
        ctx.rows = len(table)
        return table[index]

    def backward(ctx: Any, upstream: torch.Tensor) -> Any:
        (index,) = ctx.saved_tensors
        if fault == "memory":
            upstream = memory(upstream)
        g = wide(upstream)
        gradient = g.new_zeros(ctx.rows, g.shape[-1])
        if fault == "overwrites":
            gradient[index] = g
        elif fault == "low":
            low = upstream.new_zeros(gradient.shape)
            for place, row in zip(index.tolist(), upstream, strict=True):
                low[place] += row
            gradient = low
        else:
            gradient.index_add_(0, index, g)
        if fault == "padding":
            gradient[0] = 0
        if fault == "off by one":
            gradient = gradient.roll(1, 0)
        return gradient.to(upstream.dtype), None

    return kernel(forward, backward)


def gather_reference(table: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    return functional.embedding(index, table)


def looked_up(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Any]:
    return {"table": normal(generator, 5, 4, dtype=dtype), "index": torch.tensor([0, 3, 1, 3, 0, 4, 3])}


def often(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Any]:
    return {
        "table": normal(generator, 3, 8, dtype=dtype),
        "index": torch.randint(3, (900,), generator=generator),
    }


def scatter_sum(fault: str = "") -> Any:
    """Sum the rows of each group."""

    def forward(ctx: Any, x: torch.Tensor, group: torch.Tensor, groups: int) -> torch.Tensor:
        ctx.save_for_backward(group)
        total = wide(x).new_zeros(groups, x.shape[-1])
        return total.index_add_(0, group, wide(x)).to(x.dtype)

    def backward(ctx: Any, upstream: torch.Tensor) -> Any:
        (group,) = ctx.saved_tensors
        gradient = upstream[group]
        if fault == "mean":
            gradient = gradient / group.bincount()[group][:, None]
        if fault == "sorted":
            gradient = upstream[group.sort().values]
        return gradient, None, None

    return kernel(forward, backward)


def scatter_reference(x: torch.Tensor, group: torch.Tensor, groups: int) -> torch.Tensor:
    return torch.zeros(groups, x.shape[-1], dtype=x.dtype).index_add(0, group, x)


def grouped(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Any]:
    return {"x": normal(generator, 6, 3, dtype=dtype), "group": torch.tensor([2, 0, 2, 1, 0, 2]), "groups": 4}


def largest(fault: str = "") -> Any:
    """The maximum of each row and where it is."""

    def forward(ctx: Any, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        values, places = x.max(-1)
        ctx.save_for_backward(x, values, places)
        ctx.mark_non_differentiable(places)
        return values, places + (fault == "places")

    def backward(ctx: Any, upstream: torch.Tensor, _: Any) -> torch.Tensor:
        x, values, places = ctx.saved_tensors
        if fault == "all that tie":
            return upstream[:, None] * (x == values[:, None])
        gradient = torch.zeros_like(x)
        return gradient.scatter_(-1, places[:, None], upstream[:, None])

    return kernel(forward, backward)


def largest_reference(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return tuple(x.max(-1))  # type: ignore[return-value]


def with_ties(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Any]:
    x = normal(generator, 5, 6, dtype=dtype)
    x[1, 2] = x[1, 4] = 9
    return {"x": x}


def running_sum(fault: str = "") -> Any:
    """Sums from the first entry on; back from the last."""

    def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
        return wide(x).cumsum(-1).to(x.dtype)

    def backward(ctx: Any, upstream: torch.Tensor) -> torch.Tensor:
        g = wide(upstream)
        if fault == "forwards":
            return g.cumsum(-1).to(upstream.dtype)
        if fault == "exclusive":
            return (g.flip(-1).cumsum(-1).flip(-1) - g).to(upstream.dtype)
        return g.flip(-1).cumsum(-1).flip(-1).to(upstream.dtype)

    return kernel(forward, backward)


def running_sum_reference(x: torch.Tensor) -> torch.Tensor:
    return x.cumsum(-1)


def one(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Any]:
    return {"x": normal(generator, 4, 7, dtype=dtype)}


def rotate(x: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> torch.Tensor:
    first, second = x.chunk(2, -1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], -1)


def rotary(fault: str = "") -> Any:
    """Rotate pairs by angles that are constants: back by the opposite angles."""

    def forward(ctx: Any, x: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(angles)
        z, a = wide(x, angles)
        return rotate(z, a.cos(), a.sin()).to(x.dtype)

    def backward(ctx: Any, upstream: torch.Tensor) -> Any:
        (angles,) = ctx.saved_tensors
        g, a = wide(upstream, angles)
        sin = a.sin() if fault == "same way" else -a.sin()
        if fault == "first position":
            a, sin = a[:1], sin[:1]
        if fault == "view":
            upstream.view(-1)
        return rotate(g, a.cos(), sin).to(upstream.dtype), None

    return kernel(forward, backward)


def rotary_reference(x: torch.Tensor, angles: torch.Tensor) -> torch.Tensor:
    return rotate(x, angles.detach().cos(), angles.detach().sin())


def positions(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Any]:
    return {"x": normal(generator, 2, 5, 6, dtype=dtype), "angles": normal(generator, 5, 3, dtype=dtype)}


def scan(fault: str = "") -> Any:
    """h_t = a_t h_(t-1) + x_t, as in state-space layers."""

    def forward(ctx: Any, a: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        states = [torch.zeros_like(wide(x)[0])]
        for step in range(len(x)):
            states.append(wide(a)[step] * states[-1] + wide(x)[step])
        ctx.save_for_backward(a, torch.stack(states))
        return torch.stack(states[1:]).to(x.dtype)

    def backward(ctx: Any, upstream: torch.Tensor) -> Any:
        a, states = ctx.saved_tensors
        g, decay = wide(upstream, a)
        grad_a, grad_x = torch.zeros_like(g), torch.zeros_like(g)
        carry = torch.zeros_like(g[0])
        for step in reversed(range(len(g))):
            carry = carry + g[step]
            grad_x[step] = carry
            grad_a[step] = carry * states[step + (fault == "next state")]
            carry = carry * decay[max(0, step - 1) if fault == "earlier decay" else step]
            if fault == "blocks" and step % 3 == 0:
                carry = torch.zeros_like(carry)
        return grad_a.to(a.dtype), grad_x.to(upstream.dtype)

    return kernel(forward, backward)


def scan_reference(a: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    states = [x[0]]
    for step in range(1, len(x)):
        states.append(a[step] * states[-1] + x[step])
    return torch.stack(states)


def steps(generator: torch.Generator, dtype: torch.dtype) -> dict[str, Any]:
    return {
        "a": normal(generator, 7, 4, dtype=torch.float64).sigmoid().to(dtype),
        "x": normal(generator, 7, 4, dtype=dtype),
    }


class Kept:
    """A square that keeps what it should hand over: its input, or a buffer for its gradient."""

    def __init__(self, what: str) -> None:
        self.what, self.saved, self.buffer = what, torch.empty(0), torch.empty(0)

        def forward(ctx: Any, x: torch.Tensor) -> torch.Tensor:
            self.saved = x
            ctx.save_for_backward(x)
            return x * x

        def backward(ctx: Any, upstream: torch.Tensor) -> torch.Tensor:
            (x,) = ctx.saved_tensors
            if what == "input":
                return 2 * self.saved * upstream
            if what == "sum":
                if self.buffer.shape != x.shape or self.buffer.dtype != x.dtype:
                    self.buffer = torch.zeros_like(x)
                self.buffer = self.buffer + 2 * x * upstream
                return self.buffer
            return 2 * x * upstream

        self.apply = kernel(forward, backward)

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        return self.apply(x)  # type: ignore[no-any-return]


WRONG = "derivative path partial permutation"
G, SC = gather_reference, scatter_reference
FAULTS = [
    Kernel("embedding overwrites rows that are taken twice", gather("overwrites"), G, looked_up, WRONG, "table"),
    Kernel("embedding leaves out row zero", gather("padding"), G, looked_up, "partial", "table"),
    Kernel("embedding is off by one", gather("off by one"), G, looked_up, "permutation", "table"),
    Kernel("embedding reads rows as contiguous", gather("memory"), G, looked_up, "layout", "table"),
    Kernel("a sum of groups divides on the way back", scatter_sum("mean"), SC, grouped, WRONG, "x"),
    Kernel("a sum of groups expects sorted groups", scatter_sum("sorted"), SC, grouped, WRONG, "x"),
    Kernel("max gives all that tie the gradient", largest("all that tie"), largest_reference, with_ties, WRONG, "x"),
    Kernel("max returns other places", largest("places"), largest_reference, with_ties, "term", "output.1"),
    Kernel("a running sum runs forwards twice", running_sum("forwards"), running_sum_reference, one, WRONG, "x"),
    Kernel(
        "a running sum leaves out the entry itself", running_sum("exclusive"), running_sum_reference, one, WRONG, "x"
    ),
    Kernel("rotation goes the same way back", rotary("same way"), rotary_reference, positions, WRONG, "x"),
    Kernel(
        "rotation takes the first position for all", rotary("first position"), rotary_reference, positions, WRONG, "x"
    ),
    Kernel("rotation views its upstream gradient", rotary("view"), rotary_reference, positions, "layout", "x"),
    Kernel("a scan reads the next state", scan("next state"), scan_reference, steps, WRONG, "a"),
    Kernel("a scan decays by the step before", scan("earlier decay"), scan_reference, steps, WRONG, "x"),
    Kernel("a scan carries nothing between blocks", scan("blocks"), scan_reference, steps, WRONG, "x"),
    Kernel("a square keeps its input in a global place", Kept("input"), torch.square, one, "side-effect", "x"),
    Kernel("a square adds up its gradients", Kept("sum"), torch.square, one, "side-effect", "x"),
]
RIGHT = [
    Kernel("embedding", gather(), G, looked_up),
    Kernel("embedding of many", gather(), G, often),
    Kernel("embedding adds up in low precision, as PyTorch's on the CPU", gather("low"), G, looked_up),
    Kernel("a sum of groups, one of them empty", scatter_sum(), SC, grouped),
    Kernel("max and its place", largest(), largest_reference, with_ties),
    Kernel("a running sum", running_sum(), running_sum_reference, one),
    Kernel("rotation by constant angles", rotary(), rotary_reference, positions),
    Kernel("a scan", scan(), scan_reference, steps),
    Kernel("a square that keeps its input nowhere", Kept("nothing"), torch.square, one),
]
