"""Decisions that rounding could have taken the other way, and modes that take them there or keep them."""

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import torch

from torch_reference.checker.reference.decisions import Decision, Tie
from torch_reference.checker.reference.modes import Mode
from torch_reference.checker.reference.private import outside_modes, tree_flatten
from torch_reference.checker.reference.reading import decided


class Recorder(Mode):
    """Keep a copy of everything that is decided on.

    Attributes
    ----------
    decisions : list of Decision
        In the order of the computation.
    operands : list of tensor
        The operands themselves. Two decisions on one operand are one tie: whoever moves it moves both.
    open : list of bool
        Whether each depends on the inputs. What is decided on constants alone, as a mask, is no kink of the loss.
    """

    backward: ClassVar[bool] = False

    def __init__(self) -> None:
        super().__init__()
        self.decisions: list[Decision] = []
        self.operands: list[torch.Tensor] = []
        self.open: list[bool] = []
        self._moving: set[int] = set()  # where in memory something lies that depends on the inputs

    def begin(self, inputs: Iterable[torch.Tensor]) -> None:
        """Remember where the inputs lie that the loss is differentiated by."""
        self._moving = {_memory(value) for value in inputs if value.is_floating_point()}

    def run(self, operator: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run one operation and keep its operands."""
        depends = any(_memory(value) in self._moving for value in _tensors((args, kwargs)))
        for decision in decided(name, args):
            self.operands.append(decision.operand)
            self.decisions.append(decision.kept())
            self.open.append(depends)
        result = operator(*args, **kwargs)
        places = {_memory(value) for value in _tensors(result)}
        (self._moving.update if depends else self._moving.difference_update)(places)
        return result

    def repeats(self, number: int) -> bool:
        """Say whether an earlier decision compares the same memory in the same way."""
        this = self.operands[number]
        return any(
            (this.data_ptr(), this.shape, this.stride()) == (that.data_ptr(), that.shape, that.stride())
            and self.decisions[number].same_question(decision)
            for that, decision in zip(self.operands[:number], self.decisions[:number], strict=True)
        )


class TieBreak(Mode):
    """Take the given ties to their other side.

    Parameters
    ----------
    ties : sequence of Tie
        Which.
    far : bool
        Move the operand as far as rounding may have moved it, and not by next to nothing.
    """

    backward: ClassVar[bool] = False

    def __init__(self, ties: Sequence[Tie], far: bool = False) -> None:
        super().__init__()
        self.far = far
        self.count = 0
        self.moves: dict[int, list[Tie]] = {}
        for tie in ties:
            self.moves.setdefault(tie.decision, []).append(tie)

    def run(self, operator: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run one operation after moving its tied operands."""
        for decision in decided(name, args):
            if self.count in self.moves:
                with outside_modes():  # moving is no part of the computation
                    decision.move(self.moves[self.count], self.far)
            self.count += 1
        return operator(*args, **kwargs)


class HoldDecisions(Mode):
    """Keep the decisions of another computation: an operand that noise moved across goes back to its first place.

    Parameters
    ----------
    plain : sequence of Decision
        Those of the other computation.
    """

    backward: ClassVar[bool] = False

    def __init__(self, plain: Sequence[Decision]) -> None:
        super().__init__()
        self.plain = iter(plain)

    def run(self, operator: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run one operation after moving back its operands."""
        for decision, before in zip(decided(name, args), self.plain, strict=False):
            if type(decision) is type(before) and decision.operand.shape == before.operand.shape:
                with outside_modes():  # moving is no part of the computation
                    decision.restore(before)
        return operator(*args, **kwargs)


def find_ties(plain: Recorder, noisy: Sequence[Sequence[Decision]], factor: float) -> list[Tie]:
    """Return the entries that lie closer to their boundary, or to a rival, than rounding can tell.

    Parameters
    ----------
    plain : Recorder
        Has seen the plain computation.
    noisy : sequence of sequences of Decision
        Those of computations with noise on every result.
    factor : float
        How many times the mean change over the noisy computations rounding may amount to.
    """
    found: list[Tie] = []
    for number, decision in enumerate(plain.decisions):
        if not plain.open[number] or plain.repeats(number):
            continue
        margin = decision.margin()
        others = [other[number].margin() for other in noisy if number < len(other)]
        changes = [(other - margin).abs().nan_to_num(0.0) for other in others if other.shape == margin.shape]
        mean = torch.stack(changes).mean(0) if changes else torch.zeros_like(margin)
        found += decision.near(number, factor * mean)
    return found


def _tensors(tree: Any) -> list[torch.Tensor]:
    return [each for each in tree_flatten(tree)[0] if isinstance(each, torch.Tensor) and each.layout == torch.strided]


def _memory(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage().data_ptr()
