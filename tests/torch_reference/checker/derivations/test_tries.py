"""What the search asks of which places, in which order, and how much of it: its kinds and their answers are made up."""

from types import SimpleNamespace

import pytest

pytest.importorskip("torch")
from torch_reference.checker.derivations import search
from torch_reference.checker.derivations.change import Change
from torch_reference.checker.derivations.search import Explanation, changes, explanations

KINDS = [
    *("other_ways", "other_slopes", "other_targets", "other_readings", "other_blocks", "other_upstreams"),
    *("changed_results", "inner_left_out", "same_way_back", "formula_left_out"),
    *("other_recurrences", "other_normalizations", "overwritten", "truncated", "miscounted_copies"),
]


def place(name, turns="", number=0):
    return SimpleNamespace(step=SimpleNamespace(name=name, number=number), turns=turns, place=(name, number))


def change(words="", site=None, rank=1.0, code="derivative"):
    return Change(code, site or place("tanh"), words, lambda share: {}, rank)


def test_which_kinds_are_asked_at_which_places(monkeypatch):
    def kind(name):
        def offer(*arguments):
            *_, last = arguments
            (last,) = last if isinstance(last, list) and len(last) == 1 else (last,)
            site = last if isinstance(last, SimpleNamespace) else place("anywhere")
            return [change(name, site)]

        return offer

    for name in KINDS:
        monkeypatch.setattr(search, name, kind(name))
    found = {
        "sites": [place("mm"), place("view"), place("tanh", "in its first turn")],
        "regions": [place("formula")],
        "maps": [place("map")],
        "composites": [place("softmax")],
    }
    for name, sites in found.items():
        monkeypatch.setattr(search, name, lambda replay, wrong, sites=sites: sites)
    offered = [(each.words, each.site.step.name, each.rank) for each in changes(None, ["x"])]
    assert offered == [
        ("other_ways", "mm", 1.0),
        ("other_slopes", "mm", 1.0),
        ("other_targets", "mm", 1.0),
        ("other_ways", "view", 1.0),
        ("other_recurrences", "softmax", 1.0),
        ("overwritten", "anywhere", 1.0),
        ("truncated", "anywhere", 1.0),
        ("miscounted_copies", "anywhere", 1.0),
        ("other_ways", "tanh", 1.0),  # a turn of a loop is unlikelier
        ("other_slopes", "softmax", 3.0),  # what is written out, too
        ("other_targets", "softmax", 3.0),
        ("inner_left_out", "formula", 3.0),
        ("same_way_back", "map", 3.0),
        ("other_readings", "mm", 1.0),
        ("other_blocks", "mm", 1.0),
        ("other_readings", "softmax", 3.0),
        ("other_blocks", "softmax", 3.0),
        ("other_upstreams", "mm", 1.0),
        ("changed_results", "mm", 1.0),
        ("other_normalizations", "softmax", 1.0),
        ("formula_left_out", "formula", 1.0),
        ("changed_results", "softmax", 3.0),
    ]

    def refuses(replay, wrong):
        raise RuntimeError

    monkeypatch.setattr(search, "composites", refuses)
    left = [(each.words, each.site.step.name, each.rank) for each in changes(None, ["x"])]
    assert left == [each for each in offered if each[1] != "softmax"]


@pytest.fixture
def looked(monkeypatch):
    """Look through made-up changes, of which some explain; return what was found, tried alone, and tried in pairs."""

    def look(given, explain=(), pairs=(), most=1000):
        alone, together = [], []

        def tried(replay, target, each):
            alone.append(each.words)
            return Explanation((each,)) if each.words in explain else None

        def both(replay, target, one, other):
            together.append(one.words + other.words)
            return Explanation((one, other)) if together[-1] in pairs else None

        monkeypatch.setattr(search, "changes", lambda replay, wrong: iter(given))
        monkeypatch.setattr(search, "tried", tried)
        monkeypatch.setattr(search, "_both", both)
        found, ended = explanations(None, SimpleNamespace(wrong=["x"]), lambda: None, most)
        words = ["".join(part.words for part in each.parts) for each in found]
        return words, ended, "".join(alone), together

    return look


def listed(ranks, code="derivative"):
    """Return changes of the given ranks, called a, b and so on, each at a place of its own."""
    return [change(chr(97 + k), place("tanh", number=k), rank, code) for k, rank in enumerate(ranks)]


def test_what_is_less_likely_than_what_was_found_by_more_than_one_is_not_tried(looked):
    assert looked(listed([3.0, 1.0, 2.0, 2.01, 1.5]), "b")[2] == "abce"
    assert looked(listed([1.0, 2.0, 2.01, 0.5]), "ad") == (["d", "a"], False, "abd", [])


@pytest.mark.parametrize(("count", "ended"), [(7, False), (8, True)])
def test_seven_in_ten_tries_are_for_one_change_at_a_time(looked, count, ended):
    assert looked(listed([1.0] * count), most=10) == ([], ended, "abcdefg", [])


def test_the_other_tries_are_for_pairs_of_likely_changes_at_two_places(looked):
    slopes = listed([0.05, 0.06, 0.0])
    ways = listed([9, 9, 9, 1.0, 1.01, 0.5], "path")[3:]
    turn = [change("g", place("tanh", "in its first turn", 7), 0.0)]
    beside = [change("h", slopes[0].site, 0.0)]
    given = [*slopes, *ways, *turn, *beside]
    pairs = ["ac", "ad", "af", "cd", "cf", "ch", "df", "dh", "fh"]
    assert looked(given) == ([], False, "abcdefgh", pairs)
    assert looked(given, pairs=["ad"]) == (["ad"], False, "abcdefgh", ["ac", "ad"])
    assert looked(given, most=12) == ([], True, "abcdefgh", pairs[:4])
    assert looked(given, most=17) == ([], False, "abcdefgh", pairs)


@pytest.mark.parametrize(("rank", "pairs"), [(1.4, []), (1.41, ["ab"])])
def test_pairs_are_tried_beside_an_unlikely_explanation(looked, rank, pairs):
    found = looked(listed([0.0, 0.0, rank]), "c", ["ab"])
    assert found == ([*pairs, "c"], False, "abc", pairs)
