"""The ways that are left out, counted twice or negated: all that are offered at a place, with their gradients."""

import re

import pytest

torch = pytest.importorskip("torch")
from replays import drawn, replayed  # noqa: E402 (needs torch)

from torch_reference.checker.derivations.kinds.ways import other_ways, overwritten, truncated  # noqa: E402
from torch_reference.checker.derivations.site import sites  # noqa: E402
from torch_reference.checker.tape.replay import way  # noqa: E402

X, W = drawn(3, 3), drawn(3, 3, seed=1)


def offered(replay, name, turns=""):
    """Return the changes at the places of an operation, by their words without lines."""
    found = [
        change
        for site in sites(replay, replay.wanted)
        if (site.step.name, site.turns) == (name, turns)
        for change in other_ways(replay, site)
    ]
    return [(re.sub(r" in line \d+", "", change.words), change.rank) for change in found], found


def same(found, expected):
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-12, atol=1e-13)


def test_each_operand_is_a_way_and_its_gradient_is_counted_so_many_times():
    replay = replayed(lambda x, w: ((x @ w) * 2).square().sum(), x=X, w=W)
    words, (first, second) = offered(replay, "mm")
    assert words == [
        ("the way through its first operand, x, {counted}", 0.5),
        ("the way through its second operand, w, {counted}", 0.5),
    ]
    for share in (0.0, 2.0, -1.0, 0.3):
        same(replay.gradients(first.rules(share)), {"x": share * replay.base["x"], "w": replay.base["w"]})
        same(replay.gradients(second.rules(share)), {"x": replay.base["x"], "w": share * replay.base["w"]})
        local = replay.at(first.site.step)
        grad = replay.upstream[local.step.outputs[0]]
        own = local.vjp(grad)
        for k, change in enumerate((first, second)):
            passed = change.backward(local, grad, share)
            assert [torch.equal(passed[j], share * own[j] if j == k else own[j]) for j in (0, 1)] == [True, True]
    assert [(each.code, each.fitted, each.named) for each in (first, second)] == [("path", True, None)] * 2
    assert offered(replay, "mul")[0] == offered(replay, "pow")[0] == []  # nothing but a link of a chain


def test_a_way_is_named_by_the_statistic_that_it_comes_through():
    def reference(x):
        return ((x - x.mean(1, keepdim=True)) / (1 + (x.mean() * 2).exp() * 3)).exp().sum()

    replay = replayed(reference, x=X)
    words, (first, second) = offered(replay, "sub")
    assert words == [
        ("the way through its first operand, x, {counted}", 0.5),
        ("the way through it (its result goes on to sub) {counted}", 0.5),
    ]
    assert (first.named, second.named.step.name) == (None, "mean")
    words, (first, second) = offered(replay, "div")
    assert words == [
        ("the way through it (its result goes on to div) {counted}", 0.5),
        ("the way through it (its result goes on to mul, exp, mul, add, div) {counted}", 0.5),
    ]
    assert (first.named.step.name, second.named.step.name) == ("sub", "mean")


def test_of_several_operands_one_alone_may_be_followed():
    replay = replayed(lambda x, y, z: torch.cat([x, y, z]).square().sum(), x=X[0], y=X[1], z=X[2])
    words, (*_, first, last) = offered(replay, "cat")
    assert [(text, rank) for text, rank in words if "only" in text] == [
        ("only the way through its first operand is followed", 0.9),
        ("only the way through its last operand is followed", 0.9),
    ]
    assert len(words) == 5
    zero, base = torch.zeros(3).double(), replay.base
    same(replay.gradients(first.rules(0.0)), {"x": base["x"], "y": zero, "z": zero})
    same(replay.gradients(last.rules(0.0)), {"x": zero, "y": zero, "z": base["z"]})
    two = replayed(lambda x, y: torch.cat([x, y]).square().sum(), x=X[0], y=X[1])
    assert [text for text, _ in offered(two, "cat")[0] if "only" in text] == []


def test_one_array_read_twice_is_a_way_as_a_whole_too():
    replay = replayed(lambda x: (x * x).exp().sum(), x=X)
    words, (*_, whole) = offered(replay, "mul")
    assert [rank for _, rank in words] == [0.5, 0.5, 0.6]
    assert words[2][0] == "the way through its first operand, x, {counted}"
    same(replay.gradients(whole.rules(3.0)), {"x": 3 * replay.base["x"]})


@pytest.mark.parametrize(("factor", "rank"), [(1, 3.0), (2, 0.5)])
def test_a_way_through_nothing_but_a_view_is_unlikely(factor, rank):
    def reference(x):
        turned = (x if factor == 1 else factor * x).T
        return turned.exp().sum() + turned.tanh().sum()

    assert [each for _, each in offered(replayed(reference, x=X), "permute")[0]] == [rank]


def turning(cut, share):
    """Return gradients of a loop; `cut` says, for a turn and an operand, whether its way counts `share` times."""
    x, w = X.clone().requires_grad_(), W.clone().requires_grad_()
    state = x
    for turn in range(3):
        one, two = (way(each, share) if cut(turn, k) else each for k, each in enumerate((state, w)))
        state = torch.tanh(one @ two)
    return dict(zip("xw", torch.autograd.grad(state.sum(), (x, w), materialize_grads=True), strict=True))


def loop(x, w):
    for _ in range(3):
        x = torch.tanh(x @ w)
    return x.sum()


@pytest.mark.parametrize(
    ("turns", "which"),
    [
        ("", (0, 1, 2)),
        ("in its first turn", (0,)),
        ("in its last turn", (2,)),
        ("in all turns but the first", (1, 2)),
        ("in all turns but the last", (0, 1)),
    ],
)
def test_in_a_loop_a_way_may_count_otherwise_in_some_turns(turns, which):
    replay = replayed(loop, x=X, w=W)
    words, found = offered(replay, "mm", turns)
    state = "first operand, x," if turns == "in its first turn" else "it (its result goes on to matmul)"
    state = f"its {state}" if "operand" in state else state
    counts = [("is left out", 0.5), ("is counted twice", 2.5), ("has the wrong sign", 2.5)]
    expected = [(f"the way through {name} {count}", rank)
                for name in (state, "its second operand, w,") for count, rank in counts]  # fmt: skip
    assert words == expected
    for number, change in enumerate(found):
        k, share = number // 3, (0.0, 2.0, -1.0)[number % 3]
        same(replay.gradients(change.rules(7.0)), turning(lambda turn, j: turn in which and j == k, share))  # noqa: B023
        assert (change.code, change.fitted) == ("path", False)


def test_of_what_a_loop_reads_one_turn_alone_is_kept():
    replay = replayed(loop, x=X, w=W)
    changes = list(overwritten(replay, ["x", "w"]))
    for change, kept, words in zip(changes, (0, 2), ("first", "last"), strict=True):
        assert change.words == (
            f"of what the loop reads in every turn, only the {words} turn's gradient is kept: overwritten, not added up"
        )
        assert (change.code, change.rank, change.site.step.name) == ("path", 0.8, "mm")
        same(replay.gradients(change.rules(0.0)), turning(lambda turn, k: turn != kept and k == 1, 0.0))  # noqa: B023
    assert list(overwritten(replayed(lambda x, w: (x @ w).sum(), x=X, w=W), ["x", "w"])) == []


def test_a_view_that_is_taken_in_every_turn_is_not_what_is_named():
    def reference(x, w, b):
        for _ in range(2):
            x = torch.tanh(x @ w.T + b)
        return x.sum()

    replay = replayed(reference, x=X, w=W, b=W[0])
    first, last = overwritten(replay, ["w", "b"])
    assert [change.site.step.name for change in (first, last)] == ["add", "add"]
    kept = [each.number for each in replay.tape.steps if each.name in {"add", "permute"}]
    assert sorted(first.rules(0.0)) == kept[2:]
    assert sorted(last.rules(0.0)) == kept[:2]
    same(replay.gradients({**first.rules(0.0), **last.rules(0.0)}), {name: 0 * replay.base[name] for name in "wb"})


A, U = drawn(7, 3).sigmoid(), drawn(7, 3, seed=1)


def recurrence(a, u, size=0, first=0):
    """Run a recurrence; between blocks its state is a constant. Some begin with the first input, others with zeros."""
    states = [u[0]] if first else [torch.zeros(3, dtype=u.dtype)]
    for t in range(first, len(a)):
        state = states[-1].detach() if size and t % size == 0 else states[-1]
        states.append(a[t] * state + u[t])
    return torch.stack(states).exp().sum()


@pytest.mark.parametrize("size", [2, 3, 5])
@pytest.mark.parametrize("first", [0, 1])
def test_a_loop_that_carries_nothing_between_blocks(size, first):
    replay = replayed(lambda a, u: recurrence(a, u, first=first), a=A, u=U)
    words = f"what the loop carries has no gradient between blocks of {size} turns: each block is derived by itself"
    found = [change for change in truncated(replay, ["a", "u"]) if change.words == words]
    assert [(change.code, change.rank, change.site.step.name) for change in found] == [("path", 1.0, "mul")] * 2
    a, u = A.clone().requires_grad_(), U.clone().requires_grad_()
    grads = torch.autograd.grad(recurrence(a, u, size, first), (a, u))
    same(replay.gradients(found[first].rules(0.0)), dict(zip("au", grads, strict=True)))


def test_blocks_are_shorter_than_the_loop_and_carry_something():
    replay = replayed(recurrence, a=A, u=U)
    sizes = [int(change.words.split()[10]) for change in truncated(replay, ["a", "u"])]
    assert sizes == [2, 2, 3, 3, 4, 4, 5, 5, 6, 6]
    apart = replayed(lambda a, u: sum((a[t] * u[t]).exp().sum() for t in range(7)), a=A, u=U)
    assert not any(change.site.step.name == "mul" for change in truncated(apart, ["a", "u"]))
