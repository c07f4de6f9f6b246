"""Changes of the forward pass: all that are offered at a place, each in four ways, and the gradients they give."""

import re

import pytest

torch = pytest.importorskip("torch")
from replays import drawn, replayed  # noqa: E402 (needs torch)

from torch_reference.checker.derivations.change import sentence  # noqa: E402
from torch_reference.checker.derivations.kinds.catalogue.names import ACTIVATIONS  # noqa: E402
from torch_reference.checker.derivations.kinds.catalogue.results import RESULTS  # noqa: E402
from torch_reference.checker.derivations.kinds.results import changed_results, formula_left_out  # noqa: E402
from torch_reference.checker.derivations.site import sites  # noqa: E402

X, Y = drawn(3, 4), drawn(3, 4, seed=1)
WAYS = (
    "",
    ", in the forward pass alone",
    ", and the derivative follows the right formula at that result",
    ", in the backward pass alone",
)


def offered(replay, name):
    (site,) = [site for site in sites(replay, replay.wanted) if site.step.name == name]
    return {re.sub(r" in line \d+", "", change.words): change for change in changed_results(replay, site)}


def ranked(rank, words):
    more = rank + (0.3 if rank < 1 else 0.0)
    return {
        words + way: round(each, 9) for way, each in zip(WAYS, (rank, more + 0.3, more + 0.4, more + 0.5), strict=True)
    }


@pytest.mark.parametrize(
    ("name", "reference", "likely", "others"),
    [
        ("_softmax", lambda x: torch.softmax(x, 1).square().sum(), 0.3, {"is taken along axis 0, not 1": 0.5}),
        ("exp", lambda x: torch.exp(x).sum(), 2.0, {f"{each} stands in its place": 3.0 for each in ACTIVATIONS}),
        ("sum", lambda x: x.sum(-1).exp().max(), 2.0, {"is taken along axis 0, not 1": 2.2}),
        ("sum", lambda x: x.sum().exp(), 2.0, {}),
        ("mean", lambda x: x.mean((0, 1)).exp(), 2.0, {}),
        ("cumsum", lambda x: x.cumsum(0).exp().sum(), 2.0, {"is taken along axis 1, not 0": 2.2}),
    ],
)
def test_all_that_is_offered_at_an_operation_of_one_operand(name, reference, likely, others):
    expected = {}
    for number, entry in enumerate(RESULTS):
        expected |= ranked(likely + 0.01 * number, sentence(entry))
    for words, rank in others.items():
        expected |= ranked(rank, words)
    assert {words: round(each.rank, 9) for words, each in offered(replayed(reference, x=X), name).items()} == expected


def test_of_two_operands_one_may_go_on_alone():
    replay = replayed(lambda x, y: (x * y).exp().sum(), x=X, y=Y)
    found = offered(replay, "mul")
    assert [words for words in found if "operand" in words] == [
        f"is left out of the forward pass: operand {k} goes on alone{way}" for k in (1, 2) for way in WAYS
    ]
    change = found["is left out of the forward pass: operand 2 goes on alone"]
    assert change.rank == 2.5
    gradients = replay.gradients(change.rules(0.0))
    torch.testing.assert_close(gradients["y"], Y.exp())
    assert not gradients["x"].any()


def test_the_four_ways_of_a_wrong_result():
    replay = replayed(lambda x: torch.exp(x).square().sum(), x=X)
    found = offered(replay, "exp")
    for way, expected in zip(WAYS, (2 * X, 2 * X * X.exp(), 2 * X * X, 2 * X.exp()), strict=True):
        gradients = replay.gradients(found["is left out of the forward pass" + way].rules(0.0))
        torch.testing.assert_close(gradients["x"], expected, rtol=1e-12, atol=1e-13)
    gradients = replay.gradients(found["abs stands in its place"].rules(0.0))
    torch.testing.assert_close(gradients["x"], 2 * X)


@pytest.mark.parametrize(
    ("name", "function", "other"),
    [
        ("_softmax", lambda x: torch.softmax(x, 1), lambda x: torch.softmax(x, 0)),
        ("sum", lambda x: x.sum(1), lambda x: x.sum(0)),
        ("mean", lambda x: x.mean(1, keepdim=True), lambda x: x.mean(0, keepdim=True)),
        ("cumsum", lambda x: x.cumsum(1), lambda x: x.cumsum(0)),
    ],
)
def test_along_another_axis(name, function, other):
    x = drawn(3, 3)
    replay = replayed(lambda x: function(x).exp().prod(), x=x)
    change = offered(replay, name)["is taken along axis 0, not 1"]
    leaf = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(other(leaf).exp().prod(), leaf)
    torch.testing.assert_close(replay.gradients(change.rules(0.0))["x"], expected, rtol=1e-12, atol=1e-13)


def test_a_formula_left_out():
    replay = replayed(lambda x: torch.exp(x).square().sum(), x=X)
    site = sites(replay, ["x"])[-1]
    found = list(formula_left_out(site))
    words = "this formula is left out of the forward pass"
    assert {change.words: round(change.rank, 9) for change in found} == ranked(2.5, words)
    torch.testing.assert_close(replay.gradients(found[0].rules(0.0))["x"], 2 * X)
