"""The arrays that may be taken by mistake: all of them, what they are called, and how far away they are."""

import pytest

torch = pytest.importorskip("torch")
from replays import drawn, replayed  # noqa: E402 (needs torch)

from torch_reference.checker.derivations.change import NotApplicableError  # noqa: E402
from torch_reference.checker.derivations.kinds.sources import sources  # noqa: E402
from torch_reference.checker.derivations.site import sites  # noqa: E402


def found(replay, name, turns=""):
    """Return a site, and the numbers, the words without the line, and the distance of all that may be taken there."""
    site = next(site for site in sites(replay, list(replay.base)) if (site.step.name, site.turns) == (name, turns))
    listed = []
    for source in sources(replay, site):
        words = source.words.split(" in line ")
        listed.append(
            (source.numbers, " ".join([words[0], *words[-1].split()[1:]]) if words[1:] else words[0], source.far)
        )
    return site, listed


def plain(x, w):
    h = torch.relu(x @ w.T)  # the transposed weight is but a view
    values, _ = h.max(1)  # and the places are no floating array
    return (values * 2).sum()


def test_all_arrays_of_a_straight_computation():
    replay = replayed(plain, x=drawn(2, 3), w=drawn(4, 3))
    site, listed = found(replay, "relu")
    assert listed == [
        ((0,), "x", 3),
        ((1,), "w", 3),
        ((3,), "the result of matmul", 1),
        ((4,), "the result of relu", 0),
        ((5,), "the result of max", 1),
        ((7,), "the result of mul", 2),
        ((8,), "the result of sum", 3),
    ]
    local = replay.at(site.step)
    product = sources(replay, site)[2]
    assert product.last == 3
    assert product.value(site, local) is replay.values[3]
    assert product.gradient(site, local) is replay.upstream[3]


def loop(x, w, h):
    scale = w.exp()
    for row in x.unbind():
        h = torch.tanh(h * scale + row)
    for _ in range(2):
        h = torch.sin(h)
    return h.sum()


LOOP = replayed(loop, x=drawn(3, 4), w=drawn(4), h=drawn(4))


def test_in_a_loop_they_are_those_of_the_same_turn():
    _, listed = found(LOOP, "add")
    before = [each for each in listed if each[1].startswith("x") or len(set(each[0])) == 1]
    assert before == [
        ((0,) * 3, "x", 3),
        ((1,) * 3, "w", 3),
        ((2,) * 3, "h", 3),
        ((3,) * 3, "the result of exp", 9),
        ((18,) * 3, "the result of sum", 4),
        ((4, 5, 6), "x", 0),  # the row of each turn
    ]
    assert [each for each in listed if each not in before] == [
        ((7, 10, 13), "the result of mul", 1),
        ((8, 11, 14), "the result of add", 0),
        ((9, 12, 15), "the result of tanh", 1),
        ((2, 9, 12), "the result of tanh as it was before this turn", 1),
    ]


def test_turns_are_those_of_a_site_whichever_of_them_it_takes():
    site, listed = found(LOOP, "add", "in its first turn")
    assert ((7, 10, 13), "the result of mul", 5) in listed
    state = next(source for source in sources(LOOP, site) if "before this turn" in source.words)
    for step, number in zip(site.group, (2, 9, 12), strict=True):
        assert state.value(site, LOOP.at(step)) is LOOP.values[number]
        assert state.gradient(site, LOOP.at(step)) is LOOP.upstream[number]


def test_the_last_turns_of_a_longer_loop():
    _, listed = found(LOOP, "sin")
    assert [numbers for numbers, words, _ in listed if words == "the result of tanh"] == [(12, 15)]
    assert [numbers for numbers, words, _ in listed if words.endswith("before this turn")] == [(15, 16)]
    _, listed = found(LOOP, "sum")
    assert [words for numbers, words, _ in listed] == ["x", "w", "h", "the result of exp", "the result of sum"]


def test_what_has_no_gradient_gives_none():
    replay = replayed(lambda x: (x.detach().exp() * x).sum(), x=drawn(3))
    site, _ = found(replay, "mul")
    constant = next(source for source in sources(replay, site) if source.words.startswith("the result of exp"))
    with pytest.raises(NotApplicableError):
        constant.gradient(site, replay.at(site.step))
