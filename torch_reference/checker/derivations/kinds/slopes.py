"""The mistakes in the derivative of one operation: the table of them, other forms, those of other functions."""

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from torch_reference.checker.derivations.change import (
    Change,
    NotApplicableError,
    derived,
    flowing,
    sentence,
    together,
    value,
    which,
)
from torch_reference.checker.derivations.kinds.catalogue.names import (
    ACTIVATIONS,
    DERIVED,
    ELEMENTWISE,
    FORMS,
    HINGES,
    RIVALS,
)
from torch_reference.checker.derivations.kinds.catalogue.selections import whole_at_ties
from torch_reference.checker.derivations.kinds.catalogue.slopes import SLOPES, Slope, left_out
from torch_reference.checker.derivations.site import Site, described
from torch_reference.checker.tape.replay import Local, Replay

APART = frozenset("add sub mul div mm bmm where".split())  # those whose operands have derivatives of their own


def other_slopes(replay: Replay, site: Site) -> Iterator[Change]:
    """Yield the mistakes of the catalogue, and the derivatives of other functions."""
    local = replay.at(site.step)
    for number, entry in enumerate(SLOPES):
        rank = 0.05 * number + (0.0 if site.step.name in DERIVED else 0.6) + (0.4 if len(local.operands) > 1 else 0.0)
        for k in flowing(local):
            yield derived(site, sentence(entry) + which(local, k), partial(_sloped, entry, (k,)), rank)
        if len(flowing(local)) == 2 and site.step.name not in APART:
            yield derived(site, f"{sentence(entry)}, for both operands", partial(_sloped, entry, (0, 1)), rank)
    if site.step.name in {"mm", "bmm"} and local.operands[0].shape == local.operands[1].mT.shape:
        words = "its derivative ({right}) takes each factor for the other"
        yield derived(site, words, _exchanged, 1.2)
    if site.step.name in RIVALS:
        yield derived(site, sentence(whole_at_ties), _both_whole, 1.2)
    if site.step.name not in ELEMENTWISE or len(local.operands) != 1:
        return
    if site.step.name in HINGES:
        words = "its derivative ({right}) is {share} where its input is negative"
        yield derived(site, words, _leaking, 0.9, fitted=True)
    for name, form in FORMS.items():
        for letter, words in (("y", "with its result y"), ("x", "with its input x")):
            said = f"{name.format(letter, letter)}, {words}, stands where its derivative ({{right}}) belongs"
            yield derived(site, said, partial(_formed, form, letter), 1.3)
    for name, function in ACTIVATIONS.items():
        said = f"the derivative of {name} stands where its own ({{right}}) belongs"
        yield derived(site, said, partial(_of_another, function), 1.4)


def inner_left_out(replay: Replay, site: Site) -> Iterator[Change]:
    """Yield the derivative of an inner function, a formula of one array, left out."""
    inner = described(replay, site.step.inputs[0])
    words = f"the derivative of this formula by {inner} is left out: the gradient passes unchanged"
    yield derived(site, words, partial(_sloped, left_out, (0,)), 0.6)


def same_way_back(replay: Replay, linear: list[Site]) -> Iterator[Change]:
    """Yield the gradient that goes through a linear map as the array went, where its transpose belongs.

    Maps of the same steps, as the rotations of query and key, have the mistake one by one and together.
    """
    alike: dict[tuple[str, ...], list[Change]] = {}
    for site in linear:
        inner = described(replay, site.step.inputs[0])
        words = f"what makes its result of {inner} is linear, and the gradient goes through it the same way as forwards"
        change = derived(site, f"{words}, not transposed", _forwards, 0.6)
        alike.setdefault(tuple(step.name for step in site.step.func.steps), []).append(change)
    for changes in alike.values():
        yield from changes
        if len(changes) > 1:
            yield together(changes)


def _sloped(entry: Slope, places: tuple[int, ...], local: Local, grad: Tensor, _: float) -> list[Tensor]:
    passed = list(local.vjp(grad))
    for k in places:
        own = entry(local, grad, k)
        if own is None:
            raise NotApplicableError
        passed[k] = own
    return passed


def _forwards(local: Local, grad: Tensor, _: float) -> list[Tensor]:
    own, *others = local.operands
    with torch.no_grad():
        passed = local.compute(grad, *others) - local.compute(torch.zeros_like(own), *others)
    return [passed, *local.vjp(grad)[1:]]


def _exchanged(local: Local, grad: Tensor, _: float) -> list[Tensor]:
    one, other = (operand.detach().mT for operand in local.operands)
    return local.vjp(grad, at={0: other, 1: one})


def _both_whole(local: Local, grad: Tensor, _: float) -> list[Tensor]:
    return [_sloped(whole_at_ties, (k,), local, grad, 0.0)[k] for k in range(len(local.operands))]


def _leaking(local: Local, grad: Tensor, share: float) -> list[Tensor]:
    return [torch.where(local.operands[0] > 0, grad, share * grad)]


def _formed(form: Callable[[Tensor], Tensor], letter: str, local: Local, grad: Tensor, _: float) -> list[Tensor]:
    return [grad * form(value(local) if letter == "y" else local.operands[0].detach())]


def _of_another(function: Callable[[Tensor], Tensor], local: Local, grad: Tensor, _: float) -> list[Tensor]:
    x = local.operands[0].detach().requires_grad_()
    with torch.enable_grad():
        return [torch.autograd.grad(function(x), x, grad)[0]]
