"""Mistakes in the derivative of one operation: how likely each is, and the gradients of other forms and functions."""

import pytest

torch = pytest.importorskip("torch")
from replays import drawn, replayed  # noqa: E402 (needs torch)

from torch_reference.checker.derivations.change import sentence  # noqa: E402
from torch_reference.checker.derivations.kinds.catalogue.names import ACTIVATIONS, FORMS  # noqa: E402
from torch_reference.checker.derivations.kinds.catalogue.selections import whole_at_ties  # noqa: E402
from torch_reference.checker.derivations.kinds.catalogue.slopes import SLOPES  # noqa: E402
from torch_reference.checker.derivations.kinds.slopes import inner_left_out, other_slopes, same_way_back  # noqa: E402
from torch_reference.checker.derivations.maps import maps  # noqa: E402
from torch_reference.checker.derivations.site import sites  # noqa: E402

X, W = drawn(3, 4), drawn(4, 3, seed=1)


def offered(replay, name):
    (site,) = [site for site in sites(replay, replay.wanted) if site.step.name == name]
    return {change.words: change for change in other_slopes(replay, site)}


def ranks(found):
    return [(words, round(change.rank, 9)) for words, change in found.items()]


def entries(more, places=("",)):
    return [(sentence(entry) + place, round(0.05 * number + more, 9)) for number, entry in enumerate(SLOPES)
            for place in places]  # fmt: skip


FORMED = [(f"{name.format(letter, letter)}, with its {what} {letter}, stands where its derivative ({{right}}) belongs",
           1.3) for name in FORMS for letter, what in (("y", "result"), ("x", "input"))]  # fmt: skip
OTHERS = [(f"the derivative of {name} stands where its own ({{right}}) belongs", 1.4) for name in ACTIVATIONS]
LEAKING = "its derivative ({right}) is {share} where its input is negative"


def test_how_likely_each_is():
    hinge = ranks(offered(replayed(lambda x: torch.relu(x).exp().sum(), x=X), "relu"))
    assert hinge == [*entries(0.0), (LEAKING, 0.9), *FORMED, *OTHERS]
    assert ranks(offered(replayed(lambda x: x.sin().exp().sum(), x=X), "sin")) == [*entries(0.6), *FORMED, *OTHERS]
    assert ranks(offered(replayed(lambda x: x.cumsum(0).exp().sum(), x=X), "cumsum")) == entries(0.6)
    places = [" for its first operand", " for its second operand"]
    product = ranks(offered(replayed(lambda x, w: (x @ w).exp().sum(), x=X, w=W), "mm"))
    assert product == [*entries(1.0, places), ("its derivative ({right}) takes each factor for the other", 1.2)]
    rivals = ranks(offered(replayed(lambda x, y: torch.maximum(x, y).exp().sum(), x=X, y=-X), "maximum"))
    assert rivals == [*entries(1.0, [*places, ", for both operands"]), (sentence(whole_at_ties), 1.2)]
    other = ranks(offered(replayed(lambda x, w: (x @ w).exp().sum(), x=X[:2], w=W), "mm"))
    assert other == entries(1.0, places)


def test_each_factor_for_the_other():
    replay = replayed(lambda x, w: (x @ w).exp().sum(), x=X, w=W)
    change = offered(replay, "mm")["its derivative ({right}) takes each factor for the other"]
    grad, found = (X @ W).exp(), replay.gradients(change.rules(0.0))
    torch.testing.assert_close(found["x"], grad @ X)
    torch.testing.assert_close(found["w"], W @ grad)


@pytest.mark.parametrize("share", [0.0, 0.25, -1.0])
def test_a_hinge_that_leaks(share):
    x = X.clone()
    x[0, 0] = 0.0
    replay = replayed(lambda x: torch.relu(x).exp().sum(), x=x)
    change = offered(replay, "relu")[LEAKING]
    grad = torch.relu(x).exp()
    assert change.fitted
    torch.testing.assert_close(replay.gradients(change.rules(share))["x"], torch.where(x > 0, grad, share * grad))


@pytest.mark.parametrize(
    ("words", "slope"),
    [
        ("1 - y**2, with its result y, stands where its derivative ({right}) belongs", lambda x: 1 - x.sin() ** 2),
        ("1 - x**2, with its input x, stands where its derivative ({right}) belongs", lambda x: 1 - x**2),
        ("the derivative of the square stands where its own ({right}) belongs", lambda x: 2 * x),
        ("its result stands where its derivative ({right}) belongs", torch.sin),
    ],
)
def test_what_stands_in_the_place_of_a_derivative(words, slope):
    replay = replayed(lambda x: x.sin().exp().sum(), x=X)
    found = replay.gradients(offered(replay, "sin")[words].rules(0.0))["x"]
    torch.testing.assert_close(found, X.sin().exp() * slope(X), rtol=1e-12, atol=1e-13)


def test_a_mistake_in_one_operand_leaves_the_other_right():
    replay = replayed(lambda x, w: (x @ w).exp().sum(), x=X[:, :3], w=W[:3])
    words = "its derivative ({right}) is left out: the gradient passes unchanged"
    grad = (X[:, :3] @ W[:3]).exp()
    for k, name in enumerate("xw"):
        place = ("first", "second")[k]
        found = replay.gradients(offered(replay, "mm")[f"{words} for its {place} operand"].rules(0.0))
        torch.testing.assert_close(found[name], grad)
        other = "wx"[k]
        torch.testing.assert_close(found[other], replay.base[other])


def test_an_inner_formula_left_out():
    replay = replayed(lambda x: x.sin().exp().sum(), x=X)
    (change,) = inner_left_out(replay, sites(replay, ["x"])[-1])
    assert change.words == "the derivative of this formula by x is left out: the gradient passes unchanged"
    assert change.rank == 0.6
    torch.testing.assert_close(replay.gradients(change.rules(0.0))["x"], X.sin().exp())


def test_rivals_that_tie_both_get_the_whole_gradient():
    x, y = X.clone(), -X
    x[1] = y[1]
    replay = replayed(lambda x, y: torch.maximum(x, y).exp().sum(), x=x, y=y)
    found = replay.gradients(offered(replay, "maximum")[sentence(whole_at_ties)].rules(0.0))
    for name, own, other in (("x", x, y), ("y", y, x)):
        torch.testing.assert_close(found[name], own.exp() * (own >= other))


def rotated(x, a):
    first, second = x.chunk(2, -1)
    return torch.cat([first * a.cos() - second * a.sin(), second * a.cos() + first * a.sin()], -1)


def test_a_linear_map_whose_gradient_goes_the_same_way():
    a = drawn(3, 2, seed=1)
    replay = replayed(lambda x, a: (rotated(x, a) + 1).exp().sum(), x=X, a=a)
    whole = [site for site in maps(replay, ["x"]) if site.step.inputs[0] == replay.tape.leaves["x"]][-2]  # before + 1
    (change,) = same_way_back(replay, [whole])
    expected = "what makes its result of x is linear, and the gradient goes through it the same way as forwards"
    assert (change.words, change.rank) == (f"{expected}, not transposed", 0.6)
    found, grad = replay.gradients(change.rules(0.0)), (rotated(X, a) + 1).exp()
    torch.testing.assert_close(found["x"], rotated(grad, a))
    torch.testing.assert_close(found["a"], replay.base["a"])


def test_linear_maps_of_the_same_steps_have_the_mistake_together():
    a, y = drawn(3, 2, seed=1), drawn(3, 4, seed=2)
    replay = replayed(lambda x, y, a: (rotated(x, a) * rotated(y, a)).exp().sum(), x=X, y=y, a=a)
    named = [replay.tape.leaves["x"], replay.tape.leaves["y"]]
    whole = [site for site in maps(replay, ["x", "y"]) if site.step.inputs[0] in named]
    pair = [site for site in whole if site.step.func.steps[-1].name == "cat"]  # without the product of both
    one, other, both = same_way_back(replay, pair)
    assert both.words == f"{one.words}, in all places"
    found, product = replay.gradients(both.rules(0.0)), (rotated(X, a) * rotated(y, a)).exp()
    torch.testing.assert_close(found["x"], rotated(product * rotated(y, a), a))
    torch.testing.assert_close(found["y"], rotated(product * rotated(X, a), a))
    torch.testing.assert_close(replay.gradients(other.rules(0.0))["x"], replay.base["x"])
