"""The mistakes of kernels that go along an axis in blocks, where the axis is no multiple of them.

What no block holds is left out, or only one block counts; or what lies beyond the end of the axis counts as zeros.
"""

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional

from torch_reference.checker.derivations.change import Change, NotApplicableError, derived, every, flowing, which
from torch_reference.checker.derivations.kinds.catalogue.names import SOFTMAX, dim
from torch_reference.checker.derivations.kinds.results import four_ways
from torch_reference.checker.derivations.site import Site
from torch_reference.checker.tape.replay import Local, Replay, own_backward

PRODUCTS = frozenset({"mm", "bmm"})
Part = tuple[int, int]  # the first entry that counts, and how many do


def other_blocks(replay: Replay, site: Site) -> Iterator[Change]:
    """Yield what becomes of an axis that a matrix product or softmax goes along."""
    local = replay.at(site.step)
    if site.step.name in SOFTMAX:
        for more in beyond(local.operands[0].shape[dim(local)]):
            words = f"counts {more} entries of 0 beyond the end of its axis: they are not masked"
            yield from four_ways(site, words, partial(_padded, more), 0.9)
    if site.step.name not in PRODUCTS or len(local.operands) != 2:
        return
    x, y = local.operands
    for words, part in _parts(x.shape[-1]).items():
        said = f"of the {x.shape[-1]} products that it adds up only {words} count"
        yield from four_ways(site, said, partial(_shortened, part), 1.6)
    for k, size in ((0, y.shape[-1]), (1, x.shape[-2])):
        for words, part in _parts(size).items() if k in flowing(local) else ():
            said = f"of the {size} products that its derivative adds up only {words} count{which(local, k)}"
            yield derived(site, said, partial(_passed, {k: part}), 1.1, code="path")
        for block in _blocks(x.shape[-2]) if x.shape[-2] in (x.shape[-1], y.shape[-1]) else ():
            said = f"its derivative sees only blocks of {block} on the diagonal of what is square{which(local, k)}"
            yield derived(site, f"{said}: what one block sends to others is left out", partial(_near, k, block), 1.2)
    sizes = {"result": x.shape[-1], "first": y.shape[-1], "second": x.shape[-2]}
    for block in _blocks(max(sizes.values())):
        said = (
            f"of the products that it adds up, forward and backward, what no whole block of {block} holds is left out"
        )
        whole = {name: (0, size // block * block) for name, size in sizes.items()}
        if any(0 < whole[name][1] < size for name, size in sizes.items()):
            yield Change("path", site, said, every(site, partial(_everywhere, whole)), 1.8)


def beyond(size: int) -> list[int]:
    """Return how many entries blocks of powers of two hold beyond the end of an axis."""
    return sorted({-size % block for block in _blocks(2 * size)} - {0})


def _blocks(size: int) -> list[int]:
    return [2**power for power in range(size.bit_length()) if 2**power < size]


def _parts(size: int) -> dict[str, Part]:
    """Return the parts of an axis that blocks hold: all whole ones, the first one, the last one."""
    found: dict[str, Part] = {}
    for block in _blocks(size):
        rest = size % block or block
        for number in {block, size - rest} - {0}:
            found[f"the first {number}"] = 0, number
        found[f"the last {rest}"] = size - rest, rest
    return found


def _padded(more: int, local: Local) -> Tensor:
    axis = dim(local)
    x = local.operands[0].movedim(axis, -1)
    padded = functional.pad(x, (0, more)).movedim(-1, axis)
    return local.compute(padded).narrow(axis, 0, x.shape[-1])


def _shortened(part: Part, local: Local) -> Tensor:
    x, y = local.operands
    return local.compute(x.narrow(-1, *part), y.narrow(-2, *part))


def _passed(parts: dict[int, Part], local: Local, grad: Tensor, _: float) -> list[Tensor]:
    x, y = (operand.detach() for operand in local.operands)
    passed = local.vjp(grad)
    if part := parts.get(0):
        passed = [grad.narrow(-1, *part) @ y.narrow(-1, *part).mT, passed[1]]
    if part := parts.get(1):
        passed = [passed[0], x.narrow(-2, *part).mT @ grad.narrow(-2, *part)]
    return passed


def _near(k: int, block: int, local: Local, grad: Tensor, _: float) -> list[Tensor]:
    """Pass on to one operand what stays within a block, as a chunk's own share of linear attention does."""
    x = local.operands[0].detach()
    size = x.shape[-2]
    places = torch.arange(size) // block
    diagonal = (places[:, None] == places).to(x.dtype)
    if grad.shape[-1] == size:  # scores
        return [
            own if place != k else other
            for place, (own, other) in enumerate(zip(local.vjp(grad), local.vjp(grad * diagonal), strict=True))
        ]
    if k == 0:
        raise NotApplicableError
    return [local.vjp(grad)[0], (x * diagonal).mT @ grad]


def _everywhere(whole: dict[str, Part], local: Local, _: float) -> object:
    with torch.no_grad():
        result = _shortened(whole["result"], local)
    if result.shape != local.compute(*local.operands).shape:
        raise NotApplicableError
    parts = {0: whole["first"], 1: whole["second"]}
    return own_backward(local, lambda grad: _passed(parts, local, grad, 0.0), result)
