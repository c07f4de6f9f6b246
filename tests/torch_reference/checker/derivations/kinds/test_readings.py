"""Arrays that a derivative reads by mistake: all that are offered at a place, and the gradients they give."""

import re

import pytest

torch = pytest.importorskip("torch")
from replays import drawn, replayed  # noqa: E402 (needs torch)

from torch_reference.checker.derivations.kinds.catalogue.names import ACTIVATIONS  # noqa: E402
from torch_reference.checker.derivations.kinds.readings import other_readings  # noqa: E402
from torch_reference.checker.derivations.site import sites  # noqa: E402

READS, AT = "its derivative ({right}) reads ", "its derivative ({right}) is taken at "


def offered(replay, name):
    """Return what is offered at an operation but for activations: words without lines, rank, whether it is fitted."""
    (site,) = [site for site in sites(replay, replay.wanted) if site.step.name == name]
    found = list(other_readings(replay, site))
    words = [(re.sub(r" in line \d+", "", each.words), round(each.rank, 9), each.fitted) for each in found]
    kept = [each for each in words if not any(f" {name} of it" in each[0] for name in ACTIVATIONS)]
    return kept, {text: change for (text, *_), change in zip(words, found, strict=True)}


def network(x, w, b):
    return torch.relu(x @ w + b).exp().sum()


X, W, B = drawn(2, 3), drawn(3, 4, seed=1), drawn(4, seed=2)


def test_at_a_product_of_matrices():
    words, found = offered(replayed(network, x=X, w=W, b=B), "mm")
    assert words == [
        (f"{READS}{what}, not {name}", rank, fitted)
        for name in "wx"
        for what, rank, fitted in (
            ("the gradient that comes from the loss", 0.9, False),
            ("its own entries reshaped, where it is to be transposed", 0.8, False),
            ("both last axes flipped", 1.4, False),
            (f"{name} - {{share}} * its gradient (an updated {name})", 1.0, True),
        )
    ]
    activations = [change.rank for text, change in found.items() if " of it" in text]
    assert activations == [2.4] * (2 * len(ACTIVATIONS))


def test_a_factor_that_is_reshaped_where_it_is_to_be_transposed():
    replay = replayed(network, x=X, w=W, b=B)
    _, found = offered(replay, "mm")
    (change,) = [change for text, change in found.items() if "reshaped" in text and text.endswith("not x")]
    upstream = torch.relu(X @ W + B).exp() * (X @ W + B > 0)
    torch.testing.assert_close(replay.gradients(change.rules(0.0))["w"], X.reshape(3, 2) @ upstream)


def test_at_a_hinge_the_negative_of_an_array_too():
    words, _ = offered(replayed(network, x=X, w=W, b=B), "relu")
    fixed = [("the gradient that comes from the loss", 0.9), ("both last axes flipped", 1.4)]
    away = {"matmul": 2, "add": 1, "relu": 0, "exp": 1}
    expected = []
    for start, end, more, left in ((READS, "its result", 0.0, None), (AT, "at its input", 0.1, "add")):
        expected += [(f"{start}{what}, not {end}", rank + more) for what, rank in fixed]
        for name, far in away.items():
            if name != left:  # the input itself
                rank = 0.7 + 0.02 * far + more
                expected.append((f"{start}the result of {name}, not {end}", rank))
                expected.append((f"{start}the negative of the result of {name}, not {end}", rank + 0.2))
    assert words == [(text, round(rank, 9), False) for text, rank in expected]


def test_axes_of_equal_length_swapped():
    replay = replayed(lambda x, y: torch.bmm(x, y).sum(), x=drawn(2, 2, 2), y=drawn(2, 2, 3, seed=1))
    swapped = [each[:2] for each in offered(replay, "bmm")[0] if "swapped" in each[0]]
    assert swapped == [
        (f"{READS}axes 0 and 1 swapped, not y", 1.2),
        (f"{READS}axes 0 and 1 swapped, not x", 1.2),
        (f"{READS}axes 0 and 2 swapped, not x", 1.2),
        (f"{READS}axes 1 and 2 swapped, not x", 0.8),
    ]


def test_the_last_two_of_several_axes_flipped():
    x, y = drawn(2, 2, 3), drawn(2, 3, 4, seed=1)
    replay = replayed(lambda x, y: torch.bmm(x, y).exp().sum(), x=x, y=y)
    change = offered(replay, "bmm")[1][f"{READS}both last axes flipped, not y"]
    expected = torch.bmm(x, y).exp() @ y.flip(1, 2).mT
    torch.testing.assert_close(replay.gradients(change.rules(0.0))["x"], expected, rtol=1e-12, atol=1e-13)


S, T = drawn(3, 3), drawn(3, 3, seed=1)


@pytest.mark.parametrize(
    ("words", "read"),
    [
        ("the transpose, not w", lambda w, grad, own: w.T),
        ("both last axes flipped, not w", lambda w, grad, own: w.flip(0, 1)),
        ("the gradient that comes from the loss, not w", lambda w, grad, own: grad),
        ("tanh of it, not w", lambda w, grad, own: w.tanh()),
        ("x, not w", lambda w, grad, own: S),
        ("x, transposed, not w", lambda w, grad, own: S.T),
        ("the result of sin, not w", lambda w, grad, own: (S @ T).sin()),
        ("the result of sin, transposed, not w", lambda w, grad, own: (S @ T).sin().T),
        ("w - {share} * its gradient (an updated w), not w", lambda w, grad, own: w - 0.5 * own),
    ],
)
def test_the_gradient_of_a_product_that_reads_something_else(words, read):
    replay = replayed(lambda x, w: (x @ w).sin().square().sum(), x=S, w=T)
    change = offered(replay, "mm")[1][READS + words]
    grad = replay.upstream[change.site.step.outputs[0]]
    found = replay.gradients(change.rules(0.5))
    expected = {"x": grad @ read(T, grad, replay.base["w"]).T, "w": replay.base["w"]}
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-12, atol=1e-13)


def test_an_updated_weight_that_is_read_transposed():
    replay = replayed(lambda x, w: (x @ w.T).sin().square().sum(), x=S, w=T)
    change = offered(replay, "mm")[1][f"{READS}w - {{share}} * its gradient (an updated w), not w"]
    grad = replay.upstream[change.site.step.outputs[0]]
    expected = grad @ (T - 0.5 * replay.base["w"])
    torch.testing.assert_close(replay.gradients(change.rules(0.5))["x"], expected, rtol=1e-12, atol=1e-13)


def test_ranks_at_a_square_product():
    words, _ = offered(replayed(lambda x, w: (x @ w).sin().square().sum(), x=S, w=T), "mm")
    ranks = {text.removeprefix(READS): rank for text, rank, _ in words if text.endswith("not w")}
    assert ranks["the transpose, not w"] == 0.8
    assert ranks["x, not w"] == 0.76
    assert ranks["x, transposed, not w"] == 1.06
    assert ranks["the result of sin, transposed, not w"] == 1.02
    assert "w, not w" not in ranks


@pytest.mark.parametrize(
    ("words", "mask"),
    [
        (f"{READS}the negative of the result of add, not its result", lambda h: h < 0),
        (f"{AT}the result of matmul, not at its input", lambda h: h - B > 0),
        (f"{AT}the negative of the result of matmul, not at its input", lambda h: h - B < 0),
        (f"{AT}the result of exp, not at its input", lambda h: h == h),
    ],
)
def test_the_mask_of_a_hinge_taken_elsewhere(words, mask):
    replay = replayed(network, x=X, w=W, b=B)
    change = offered(replay, "relu")[1][words]
    h = X @ W + B
    passed = torch.relu(h).exp() * mask(h)
    torch.testing.assert_close(replay.gradients(change.rules(0.0))["b"], passed.sum(0), rtol=1e-12, atol=1e-13)


MASK = torch.tensor([[True, False, True], [True, True, True]])


@pytest.mark.parametrize(
    ("hide", "offers"),
    [
        (lambda scores: scores.masked_fill(~MASK, -torch.inf), True),
        (lambda scores: torch.where(MASK, scores, -torch.inf), True),
        (lambda scores: scores + torch.where(MASK, 0.0, -torch.inf), True),
        (lambda scores: scores * 3, False),
        (lambda scores: scores, False),
    ],
)
def test_softmax_without_its_mask(hide, offers):
    replay = replayed(lambda x: (torch.softmax(hide(2 * x), 1) ** 2).sum(), x=X)
    found = {text: change for text, change in offered(replay, "_softmax")[1].items() if "without the mask" in text}
    assert list(found) == ["its derivative is taken without the mask, at the result of mul"] * offers
    for change in found.values():
        assert (change.code, change.rank) == ("derivative", 0.7)
        q, grad = torch.softmax(2 * X, 1), 2 * torch.softmax(hide(2 * X), 1)
        expected = 2 * q * (grad - (q * grad).sum(1, keepdim=True))
        torch.testing.assert_close(replay.gradients(change.rules(0.0))["x"], expected, rtol=1e-12, atol=1e-13)


def test_what_a_loop_reads_in_the_turn_before_or_after():
    a, u = drawn(5, 3).sigmoid(), drawn(5, 3, seed=1)

    def reference(a, u):
        state = torch.zeros(3, dtype=a.dtype)
        for t in range(5):
            state = a[t] * state + u[t]
        return state.exp().sum()

    replay = replayed(reference, a=a, u=u)
    (site,) = [each for each in sites(replay, ["a", "u"]) if each.step.name == "mul" and not each.turns]
    found = {re.sub(r" in line \d+", "", each.words): each for each in other_readings(replay, site)}
    states = [torch.zeros(3, dtype=a.dtype)]
    for t in range(5):
        states.append(a[t] * states[-1] + u[t])
    for words, shift in (("before", -1), ("after", 1)):
        change = found[f"{READS}a of the turn {words}, not a"]
        assert change.rank == 0.9
        carry, grad_a, grad_u = states[-1].exp(), torch.zeros_like(a), torch.zeros_like(u)
        for t in reversed(range(5)):
            grad_u[t], grad_a[t] = carry, carry * states[t]
            carry = carry * a[min(max(t + shift, 0), 4)]
        gradients = replay.gradients(change.rules(0.0))
        torch.testing.assert_close(gradients["u"], grad_u)
        torch.testing.assert_close(gradients["a"], grad_a)
    assert f"{READS}the result of add, not the result of add as it was before this turn" in found
