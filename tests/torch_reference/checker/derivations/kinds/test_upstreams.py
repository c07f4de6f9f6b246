"""Gradients of a result that are taken from elsewhere, multiplied or divided: all that are offered at a place."""

import re

import pytest

torch = pytest.importorskip("torch")
from replays import drawn, replayed  # noqa: E402 (needs torch)

from torch_reference.checker.derivations.kinds.upstreams import other_upstreams  # noqa: E402
from torch_reference.checker.derivations.site import sites  # noqa: E402

X, W, B = drawn(2, 3), drawn(3, 4, seed=1), drawn(4, seed=2)


def network(x, w, b):
    return torch.relu(x @ w + b).exp().sum()


def offered(replay, name):
    (site,) = [site for site in sites(replay, replay.wanted) if site.step.name == name]
    found = list(other_upstreams(replay, site))
    return {(re.sub(r" in line \d+", "", change.words), round(change.rank, 9)) for change in found}, found


def test_all_that_is_offered_at_a_product_of_matrices():
    replay = replayed(network, x=X, w=W, b=B)
    words, found = offered(replay, "mm")
    others = {"the result of add": 1, "the result of relu": 2, "the result of exp": 3}
    places = ("", " for its first operand", " for its second operand")
    expected = {
        (f"it gets the gradient of {other}, not that of its own result{place}", 3.0 if place else 2.7)
        for other in others for place in places
    }  # fmt: skip
    kinds = {"multiplied by": 2.7, "divided by": 2.7, "multiplied by the square of": 2.8}
    for other, far in {"b": 3, "the result of matmul": 0, **others}.items():
        for kind, rank in kinds.items():
            said = f"the gradient of its result is {kind} {other} once too often"
            expected |= {(said + place, round(rank + 0.02 * far, 9)) for place in places}
    assert words == expected
    assert len(found) == len(expected)


@pytest.mark.parametrize(
    ("words", "factor"),
    [
        ("multiplied by b once", lambda grad: grad * B),
        ("divided by b once", lambda grad: grad / B),
        ("multiplied by the square of b once", lambda grad: grad * B**2),
        ("it gets the gradient of the result of exp", torch.ones_like),
    ],
)
def test_the_gradients_that_they_give(words, factor):
    replay = replayed(network, x=X, w=W, b=B)
    _, found = offered(replay, "mm")
    both, first, second = [change for change in found if words in change.words]
    grad = replay.upstream[both.site.step.outputs[0]]
    wrong = {"x": factor(grad) @ W.T, "w": X.T @ factor(grad)}
    for change, names in ((both, "xw"), (first, "x"), (second, "w")):
        gradients = replay.gradients(change.rules(0.0))
        for name, right in replay.base.items():
            torch.testing.assert_close(gradients[name], wrong[name] if name in names else right, rtol=1e-12, atol=1e-13)


def test_what_does_not_fit_is_not_offered():
    replay = replayed(lambda x, v, s, n: (x * v * s).exp().sum() + n.sum(), x=X, v=X[:1], s=1.5, n=drawn(2, 1, 3))
    words, _ = offered(replay, "exp")
    named = {text.split("once")[0].split("by ")[-1].strip() for text, _ in words if "once" in text}
    assert "v" in named
    assert not {"n", "s"} & named
    words, found = offered(replay, "exp")
    assert not any(" operand" in change.words for change in found)
