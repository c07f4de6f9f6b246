"""The mistakes of linear recurrences, each beside the loop that makes it."""

import pytest

torch = pytest.importorskip("torch")
from replays import drawn, replayed  # noqa: E402 (needs torch)

from torch_reference.checker.derivations.composites import composites  # noqa: E402
from torch_reference.checker.derivations.functions import Recurrence  # noqa: E402
from torch_reference.checker.derivations.kinds.recurrences import other_recurrences  # noqa: E402

STEPS = 5
X, A = drawn(STEPS, 3), drawn(STEPS, 3, seed=1).sigmoid()


def scan(x, a):
    states = [x[0]]
    for step in range(1, len(x)):
        states.append(a[step] * states[-1] + x[step])
    return torch.stack(states)


def offered(a=A, axis=0):
    def reference(x, a):
        return scan(x.movedim(axis, 0), a.movedim(axis, 0)).movedim(0, axis).exp().sum()

    replay = replayed(reference, x=X.movedim(0, axis), a=a.movedim(0, axis))
    (site,) = [each for each in composites(replay, ["x", "a"]) if each.step.name == "recurrence"][:1]
    return replay, {each.words: each for each in other_recurrences(replay, site)}


def backward(wrong):
    """Return the gradients of x and a as a kernel computes them."""
    y = scan(X, A)
    g, grad_x, grad_a = y.exp(), torch.zeros_like(X), torch.zeros_like(A)
    carry = torch.zeros(3, dtype=torch.float64)
    for t in range(STEPS) if wrong == "forwards" else reversed(range(STEPS)):
        carry = g[t] + (A[t] * carry if wrong == "forwards" and t else carry)
        grad_x[t] = carry
        grad_a[t] = carry * (y[t] if wrong == "state" else y[t - 1] if t else 0)
        if wrong == "forwards":
            continue
        decay = A[{"goes": max(t - 1, 0), "after": min(t + 1, STEPS - 1)}.get(wrong, t)]
        carry = carry if wrong == "undecayed" else carry * decay
        if wrong == "left out" or (wrong == "blocks" and t % 2 == 0):
            carry = torch.zeros_like(carry)
    return grad_x, grad_a


WORDS = {
    "goes": "is multiplied by the decay of the step that it goes to, not of the step that it comes from",
    "after": "is multiplied by the decay of the step after the one that it comes from",
    "undecayed": "is not multiplied by the decay",
    "forwards": "is carried from the first step to the last, as in the forward pass",
    "state": "is right, but the decay's gradient reads the state after the step, not the one before",
    "left out": "is left out: each step has the gradient of its own result alone",
    "blocks": "is carried within blocks of 2 steps, and nothing between them",
}


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("wrong", WORDS)
def test_a_mistake(wrong, axis):
    replay, found = offered(axis=axis)
    change = found[f"the gradient that later steps send back {WORDS[wrong]}"]
    gradients = replay.gradients(change.rules(0.0))
    for name, expected in zip("xa", backward(wrong), strict=True):
        torch.testing.assert_close(gradients[name], expected.movedim(0, axis))
    assert change.rank == 0.9


def test_all_that_is_offered():
    _, found = offered()
    blocks = [f"is carried within blocks of {size} steps, and nothing between them" for size in (2, 3, 4)]
    expected = [*[words for wrong, words in WORDS.items() if wrong != "blocks"], *blocks]
    assert list(found) == [f"the gradient that later steps send back {words}" for words in expected]


def test_decays_that_all_channels_share():
    replay, found = offered(A[:, :1])
    change = found["the gradient that later steps send back is not multiplied by the decay"]
    y = scan(X, A[:, :1])
    carried = y.exp().flip(0).cumsum(0).flip(0)
    before = torch.cat([torch.zeros(1, 3), y[:-1]])
    gradients = replay.gradients(change.rules(0.0))
    torch.testing.assert_close(gradients["x"], carried)
    torch.testing.assert_close(gradients["a"], (carried * before).sum(1, keepdim=True))


def test_what_is_no_recurrence():
    replay = replayed(lambda x, a: (x * a).exp().sum(), x=X, a=A)
    assert [each for each in composites(replay, ["x", "a"]) if isinstance(each.step.func, Recurrence)] == []
    (softmax,) = composites(replayed(lambda x: (x.exp() / x.exp().sum(1, keepdim=True)).exp().sum(), x=X), ["x"])[:1]
    assert list(other_recurrences(replay, softmax)) == []
