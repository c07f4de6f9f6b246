"""The mistakes of normalisations: all that are offered, with their ranks, and the gradients they give."""

import pytest

torch = pytest.importorskip("torch")
from replays import drawn, replayed  # noqa: E402 (needs torch)

from torch_reference.checker.derivations.composites import composites  # noqa: E402
from torch_reference.checker.derivations.kinds.catalogue.normalization import FORMULA, STATISTICS  # noqa: E402
from torch_reference.checker.derivations.kinds.normalizations import other_normalizations  # noqa: E402

X = 2 * drawn(3, 4) + 1
MEANS = ("mean(g)", "mean(g * y)")
BOTH_MEANS = f"in its derivative, {FORMULA} both means are multiplied by {{share}}"


def normalized(x, mean=1, variance=1, epsilon=1e-5, centred=True):
    centre = x - x.mean(mean, keepdim=True) if centred else x
    around = x - x.mean(variance, keepdim=True) if centred else x
    return centre / ((around**2).mean(variance, keepdim=True) + epsilon).sqrt()


def offered(centred=True):
    replay = replayed(lambda x: normalized(x, centred=centred).exp().sum(), x=X)
    (site,) = [site for site in composites(replay, ["x"]) if site.step.name == "normalize"]
    return replay, list(other_normalizations(replay, site))


def ranked(words, rank):
    after = f"{words}, and the derivative follows the right formula at that result"
    return [
        (words, rank),
        (f"{words}, in the backward pass alone", rank + 0.2),
        (after, rank + 0.1),
        (after, rank + 0.1),
    ]


@pytest.mark.parametrize("centred", [True, False])
def test_all_that_is_offered(centred):
    expected = [(BOTH_MEANS, 1.2)] * centred
    for axes in ("axis 0", "axes 0, 1"):
        along = f"taken along {axes}, not axis 1"
        expected += [(f"of its derivative the means are {along}", 1.3)]
        expected += [(f"in its derivative, {FORMULA} {mean} is {along}", 1.4) for mean in MEANS if centred]
        expected += ranked(f"is {along}", 2.2)
        for statistic in ("mean", "variance") if centred else ():
            expected += ranked(f"the {statistic} is {along}", 2.4)
    for words in STATISTICS if centred else ():
        expected += ranked(words, 2.2)
    for epsilon in ("0", "0.001", "1e-06", "1e-08", "1e-12"):  # its own is 1e-5
        expected += ranked(f"epsilon is {epsilon}", 2.3)
    _, found = offered(centred)
    assert [(each.words, round(each.rank, 9), each.fitted) for each in found] == [
        (words, round(rank, 9), words == BOTH_MEANS) for words, rank in expected
    ]


def test_a_division_by_the_length_is_left_alone():
    replay = replayed(lambda x: (x / (x**2).sum(1, keepdim=True).sqrt()).exp().sum(), x=X)
    (site,) = [site for site in composites(replay, ["x"]) if site.step.name == "normalize"]
    assert list(other_normalizations(replay, site)) == []


@pytest.mark.parametrize(
    ("words", "options"),
    [
        ("is taken along axis 0, not axis 1", {"mean": 0, "variance": 0}),
        ("the mean is taken along axes 0, 1, not axis 1", {"mean": (0, 1)}),
        ("the variance is taken along axis 0, not axis 1", {"variance": 0}),
        ("epsilon is 0.001", {"epsilon": 1e-3}),
        ("epsilon is 0", {"epsilon": 0.0}),
    ],
)
def test_the_gradient_of_another_normalisation(words, options):
    replay, found = offered()
    x = X.clone().requires_grad_()
    wrong = normalized(x, **options)
    right = normalized(X).exp()
    forward, backward, *_ = [change for change in found if change.words.startswith(words)]
    (expected,) = torch.autograd.grad(wrong.exp().sum(), x, retain_graph=True)
    torch.testing.assert_close(replay.gradients(forward.rules(0.0))["x"], expected, rtol=1e-7, atol=1e-9)
    (expected,) = torch.autograd.grad(wrong, x, right)
    torch.testing.assert_close(replay.gradients(backward.rules(0.0))["x"], expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("share", [0.0, 0.5, 2.0])
def test_means_that_are_multiplied(share):
    replay, found = offered()
    y, grad = normalized(X), normalized(X).exp()
    inverse = (X.var(1, correction=0, keepdim=True) + 1e-5).rsqrt()
    means = grad.mean(1, keepdim=True) + y * (grad * y).mean(1, keepdim=True)
    expected = inverse * (grad - share * means)
    torch.testing.assert_close(replay.gradients(found[0].rules(share))["x"], expected, rtol=1e-7, atol=1e-9)


def test_means_along_another_axis():
    replay, found = offered()
    y, grad = normalized(X), normalized(X).exp()
    inverse = (X.var(1, correction=0, keepdim=True) + 1e-5).rsqrt()
    expected = inverse * (grad - grad.mean(0) - y * (grad * y).mean(0))
    torch.testing.assert_close(replay.gradients(found[1].rules(0.0))["x"], expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(("mean", "axes"), [(1, (0, 1)), (2, (1, 0))])  # of g, and of g * y
def test_one_mean_along_another_axis(mean, axes):
    replay, found = offered()
    y, grad = normalized(X), normalized(X).exp()
    inverse = (X.var(1, correction=0, keepdim=True) + 1e-5).rsqrt()
    first, second = (part.mean(axis, keepdim=True) for part, axis in zip((grad, grad * y), axes, strict=True))
    expected = inverse * (grad - first - y * second)
    change = found[1 + mean]
    assert change.words == f"in its derivative, {FORMULA} {MEANS[mean - 1]} is taken along axis 0, not axis 1"
    torch.testing.assert_close(replay.gradients(change.rules(0.0))["x"], expected, rtol=1e-7, atol=1e-9)
