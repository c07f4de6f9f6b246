"""What an explanation says to people."""

from torch_reference.checker.derivations.change import Change
from torch_reference.checker.derivations.search import Explanation
from torch_reference.checker.derivations.site import own, shown, single_reader
from torch_reference.checker.tape.replay import Replay

RIGHT = {
    "relu": "1 where its input is positive, else 0",
    "sigmoid": "y * (1 - y), with its result y",
    "tanh": "1 - y**2, with its result y",
    "exp": "its result",
    "log": "1 / x, with its input x",
    "sqrt": "1 / (2 * y), with its result y",
    "abs": "the sign of its input",
    "mm": "the other factor, transposed",
    "bmm": "the other factor, transposed",
    "mul": "the other factor",
    "div": "1 over the divisor",
    "_softmax": "p * (g - sum(p * g)) for a row p of its result and an upstream gradient g",
    "_safe_softmax": "p * (g - sum(p * g)) for a row p of its result and an upstream gradient g",
    "_log_softmax": "g - p * sum(g) for a row p of softmax and an upstream gradient g",
}
COUNTED = {0.0: "is left out", 2.0: "is counted twice", -1.0: "has the wrong sign"}


def message(explanations: list[Explanation]) -> str:
    """Return one sentence for each explanation, the likeliest first."""
    first, *others = dict.fromkeys(_sentence(explanation) for explanation in explanations)
    return " ".join([first, *[f"Or: {other}" for other in others]])


def code(explanation: Explanation, replay: Replay) -> str:
    """Return the code of the part nearest to the loss; `reference` where softmax stands before one that applies it."""
    part = explanation.parts[0]
    if part.site.step.name in {"_softmax", "_log_softmax"} and part.words == "is left out of the forward pass":
        reader = single_reader(replay, part.site.step.outputs[0])
        return "reference" if reader and reader.name == "_log_softmax" else part.code
    return part.code


def _sentence(explanation: Explanation) -> str:
    words = "; and ".join(_part(part) for part in explanation.parts)
    factor = explanation.factor
    if factor == 1:
        return words + "."
    sign = " and the sign is wrong" if factor == -1 else f" and the result is multiplied by {factor:.6g}"
    return words + sign + "."


def _part(change: Change) -> str:
    site = change.named or change.site
    place, step = site.place, site.step
    right = f" ({RIGHT[step.name]})" if step.name in RIGHT else ""
    counted = next((words for share, words in COUNTED.items() if abs(change.share - share) < 1e-6), "")
    said = change.words.replace(" ({right})", right).replace("{share}", f"{change.share:.6g}")
    said = said.replace("{counted}", counted or f"is multiplied by {change.share:.6g}")
    turns = "".join(f" ({words})" for words in (site.turns, site.note) if words)
    if said.startswith(("is ", "gets ", "divides ")):
        said = f"it {said}"
    inner = f" (its step {own(step)}: {place.formula})" if place.formula else ""
    outer = f", called in line {place.outer}" if place.outer else ""
    return f"{shown(step)} in line {place.line}, {place.text}{outer}{inner}{turns}: {said}"
