"""Copies whose gradients are not all added up, each mistake beside grouped heads that make it."""

import pytest

torch = pytest.importorskip("torch")
from replays import drawn, replayed  # noqa: E402 (needs torch)

from torch_reference.checker.derivations.kinds.copies import miscounted_copies  # noqa: E402

GROUPS, COPIES = 3, 2
X, W = drawn(2, GROUPS, 4), drawn(2, GROUPS * COPIES, 4, seed=1)


def used(x):
    return (x.repeat_interleave(COPIES, 1) * W).sin()


def passed(x, w=W):
    """Return the gradient of each copy, (2, groups, copies, 4)."""
    return ((x.repeat_interleave(COPIES, 1) * w).cos() * w).unflatten(1, (GROUPS, COPIES))


MISTAKES = {
    "the gradient of the first is kept alone": lambda grad: grad[:, :, 0],
    "the gradient of the last is kept alone": lambda grad: grad[:, :, -1],
    "their gradients are averaged, not added up": lambda grad: grad.mean(2),
    "their gradients are added up as if the copies were whole arrays, one after the other": (
        lambda grad: grad.flatten(1, 2)[:, :GROUPS] + grad.flatten(1, 2)[:, GROUPS:]
    ),
}


def offered(reference, **inputs):
    replay = replayed(reference, **inputs)
    return replay, {change.words: change for change in miscounted_copies(replay, list(inputs))}


@pytest.mark.parametrize("words", MISTAKES)
def test_copies_of_one_array(words):
    replay, found = offered(lambda x: used(x).sum(), x=X)
    assert list(found) == [f"of the copies that it makes {each}" for each in MISTAKES]
    change = found[f"of the copies that it makes {words}"]
    assert change.rank == 0.9
    torch.testing.assert_close(replay.gradients(change.rules(0.0))["x"], MISTAKES[words](passed(X)))


@pytest.mark.parametrize("words", MISTAKES)
def test_the_same_mistake_in_all_places(words):
    other = drawn(2, GROUPS, 4, seed=2)

    def reference(x, y):
        x, y = x.repeat_interleave(COPIES, 1), y.repeat_interleave(COPIES, 1)
        return ((x * W).sin() + (y * W).sin()).sum()

    replay, found = offered(reference, x=X, y=other)
    gradients = replay.gradients(found[f"of the copies that it makes {words}, in all places"].rules(0.0))
    for name, array in (("x", X), ("y", other)):
        torch.testing.assert_close(gradients[name], MISTAKES[words](passed(array)))


def test_several_axes_are_copied():
    x = drawn(1, 3, 1)
    replay, found = offered(lambda x: (x.expand(4, 2, 3, 5) * drawn(4, 2, 3, 5)).sum(), x=x)
    grad, alone = drawn(4, 2, 3, 5), "of the copies that it makes the gradient of the first is kept alone"
    torch.testing.assert_close(replay.gradients(found[alone].rules(0.0))["x"], grad[:1, 0, :, :1])


def test_nothing_is_copied():
    assert offered(lambda x: (x.expand(2, GROUPS, 4) @ x.mT).sum(), x=X)[1] == {}
    assert offered(lambda x: (x[:, :1].expand(2, 1, 4) ** 2).sum(), x=X)[1] == {}
