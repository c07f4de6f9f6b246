"""One change of the reference: which steps follow which other rules, and what that says to people."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor

from torch_reference.checker.derivations.site import Site
from torch_reference.checker.tape.replay import Local, Replay, Rule, first, own_backward
from torch_reference.checker.tape.steps import Step

ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth")
TURNS = 1.5  # added to the rank of what holds in some turns of a loop only

Rules = Callable[[float], dict[int, Rule]]
Backward = Callable[[Local, Tensor, float], list[Tensor]]


class NotApplicableError(Exception):
    """A change does not fit an operation."""


@dataclass(frozen=True)
class Change:
    """One change of the reference.

    Attributes
    ----------
    code : str
        derivative, path or reference.
    site : Site
        The steps that it changes.
    words : str
        What the gradient did there; may hold {share} or {counted}.
    rules : callable
        Returns the rule of each step for a given number, which only `fitted` ones use.
    rank : float
        Unlikely ones have high ranks.
    fitted : bool
        Whether the gradient is a straight line in that number; the one that fits best is taken.
    share : float
        That number.
    named : Site or None
        The operation that the message names, where it is another one.
    backward : callable or None
        What the operation passes on to its operands, where the forward pass is as it was: then rules do not have to be
        run to see what comes out.
    """

    code: str
    site: Site
    words: str
    rules: Rules
    rank: float
    fitted: bool = False
    share: float = 0.0
    named: Site | None = None
    backward: Backward | None = None


def every(site: Site, rule: Callable[[Local, float], object]) -> Rules:
    """Return the rules that do the same at every step of a site."""

    def rules(share: float) -> dict[int, Rule]:
        return {step.number: partial(_follow, rule, site, step, share) for step in site.steps}

    return rules


def _follow(
    rule: Callable[[Local, float], object],
    site: Site,
    step: Step,
    share: float,
    values: Mapping[int, Tensor],
    replay: Replay,
) -> object:
    result = rule(Local(step, values, replay), share)
    return site.picked(first(result)) if site.picked else result


def derived(
    site: Site, words: str, backward: Backward, rank: float, fitted: bool = False, code: str = "derivative"
) -> Change:
    """Return the change by which a site passes other gradients on to its operands."""

    def rule(local: Local, share: float) -> object:
        return own_backward(local, lambda grad: checked(local, backward(local, grad, share)))

    return Change(code, site, words, every(site, rule), rank, fitted, backward=backward)


def together(changes: Sequence[Change]) -> Change:
    """Return the same change in all of several places."""

    def rules(share: float) -> dict[int, Rule]:
        return {number: rule for change in changes for number, rule in change.rules(share).items()}

    return replace(changes[0], words=f"{changes[0].words}, in all places", rules=rules, backward=None)


def checked(local: Local, passed: list[Tensor]) -> list[Tensor]:
    """Refuse gradients of another shape than their operands."""
    if any(grad.shape != operand.shape for grad, operand in zip(passed, local.operands, strict=True)):
        raise NotApplicableError
    return passed


def flowing(local: Local) -> list[int]:
    """Return the places of the operands that have a gradient."""
    return [k for k, operand in enumerate(local.operands) if operand.requires_grad]


def which(local: Local, k: int) -> str:
    """Name an operand where there are several."""
    return "" if len(local.operands) == 1 else f" for its {ORDINALS[min(k, 5)]} operand"


def value(local: Local) -> Tensor:
    """Return the right result of an operation, as a constant."""
    with torch.no_grad():
        return first(local.compute(*local.operands))


def exchanged(right: Tensor, other: Tensor) -> Tensor:
    """Return a value with the derivative of another."""
    if right.shape != other.shape:
        raise NotApplicableError
    return right.detach() + (other - other.detach())


def sentence(entry: Callable[..., object]) -> str:
    """Return what a function of the tables says about itself, to go on with in a sentence."""
    words = (entry.__doc__ or "").strip().rstrip(".")
    return words[:1].lower() + words[1:]
