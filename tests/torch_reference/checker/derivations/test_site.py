"""The places of a reference, all turns of a loop and some of them, and what they are called."""

from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
from replays import drawn, replayed  # noqa: E402 (needs torch)

from torch_reference.checker.derivations.regions import regions  # noqa: E402
from torch_reference.checker.derivations.site import Site, described, own, shown, single_reader, sites  # noqa: E402


def network(x, w, b):
    h = torch.relu((x @ w).T.reshape(2, 4) + b)
    return (h * h).sum()


REPLAY = replayed(network, x=drawn(2, 3), w=drawn(3, 4), b=drawn(4))


def test_places_near_the_loss_come_first_and_only_those_on_the_way():
    names = [site.step.name for site in sites(REPLAY, ["x"])]
    assert names[:4] == ["sum", "mul", "relu", "add"]
    assert names[-1] == "mm"
    assert [site.step.name for site in sites(REPLAY, ["b"])] == ["sum", "mul", "relu", "add"]
    assert sites(REPLAY, []) == []


@pytest.mark.parametrize(
    ("count", "turns"),
    [
        (1, {"": [0]}),
        (2, {"": [0, 1], "in its first turn": [0], "in its last turn": [1]}),
        (
            3,
            {
                "": [0, 1, 2],
                "in its first turn": [0],
                "in its last turn": [2],
                "in all turns but the first": [1, 2],
                "in all turns but the last": [0, 1],
            },
        ),
    ],
)
def test_turns_of_a_loop(count, turns):
    def loop(x):
        for _ in range(count):
            x = torch.tanh(x)
        return x.sum()

    found = [site for site in sites(replayed(loop, x=drawn(3)), ["x"]) if site.step.name == "tanh"]
    assert {site.turns: [step.number for step in site.steps] for site in found} == turns
    assert all(len(site.group) == count for site in found)
    assert all(site.step is site.steps[-1] for site in found)
    assert all(site.place == found[0].group[0].place for site in found)


def test_the_gradient_of_a_result_that_is_the_only_one():
    by_name = {site.step.name: site for site in sites(REPLAY, ["x"])}
    relu = by_name["relu"]
    h = REPLAY.values[relu.step.outputs[0]].detach()
    assert torch.equal(relu.upstream(REPLAY), 2 * h)
    loop = replayed(lambda x: sum(torch.tanh(x * k) for k in (1, 2)).sum(), x=drawn(3))
    turned = [site for site in sites(loop, ["x"]) if len(site.group) > 1]
    assert turned
    assert all(site.upstream(loop) is None for site in turned)
    two = replayed(lambda x: x.max(0).values.sum(), x=drawn(3, 2))
    assert torch.equal(sites(two, ["x"])[-1].upstream(two), torch.ones(2).double())


def test_of_what_is_picked_the_whole_gets_the_gradient():
    replay = replayed(lambda x: x.sin().exp().sum(), x=drawn(3))
    step = next(step for step in replay.tape.steps if step.name == "sin")
    site = Site((step,), (step,), picked=lambda whole: 2 * whole.flip(0))
    grad = replay.upstream[step.outputs[0]]
    assert torch.equal(site.upstream(replay), 2 * grad.flip(0))


@pytest.mark.parametrize(
    ("name", "call", "formula", "for_people", "itself"),
    [
        ("mm", "", "", "matmul", "matmul"),
        ("_softmax", "", "", "softmax", "softmax"),
        ("tanh_", "", "", "tanh", "tanh"),
        ("mul", "rmul", "", "mul", "mul"),
        ("div", "truediv", "", "div", "div"),
        ("sub", "layer_norm", "centred = x - mean", "layer_norm", "sub (in layer_norm)"),
        ("mm", "linear", "", "linear", "linear"),
    ],
)
def test_names(name, call, formula, for_people, itself):
    step = SimpleNamespace(name=name, place=SimpleNamespace(call=call, formula=formula))
    assert (shown(step), own(step)) == (for_people, itself)


def test_values_are_described_by_where_they_come_from():
    mm, relu = (next(step for step in REPLAY.tape.steps if step.name == name) for name in ("mm", "relu"))
    assert described(REPLAY, REPLAY.tape.leaves["w"]) == "w"
    assert described(REPLAY, mm.outputs[0]) == f"the result of matmul in line {mm.place.line}"
    before = next(step for step in REPLAY.tape.steps if step.name == "add")
    assert described(REPLAY, before.inputs[0]) == f"the result of matmul in line {mm.place.line}"  # through views
    assert described(REPLAY, 10**6) == "a constant"
    assert single_reader(REPLAY, relu.outputs[0]).name == "mul"
    assert single_reader(REPLAY, REPLAY.tape.loss) is None
    twice = replayed(lambda x: x.sin().sum() + x.cos().sum(), x=drawn(3))
    assert single_reader(twice, twice.tape.leaves["x"]) is None


def test_formulas_of_one_array():
    replay = replayed(lambda x: (torch.tanh(0.8 * (x + 0.04 * x**3)) * 2).sum(1).exp().sum(), x=drawn(2, 3))
    found = [
        (site.step.number, site.step.inputs, [step.name for step in site.step.func.steps])
        for site in regions(replay, ["x"])
    ]
    chain = ["pow", "mul", "add", "mul", "tanh", "mul"]
    assert found == [
        (5, [4], chain[4:]),
        (5, [3], chain[3:]),
        (5, [0], chain),
        (4, [3], chain[3:5]),
        (4, [0], chain[:5]),
        (3, [0], chain[:4]),
        (2, [0], chain[:3]),
        (1, [0], chain[:2]),
    ]


def test_formulas_have_less_than_a_dozen_steps_and_one_array_of_their_shape():
    def long(x):
        for number in range(14):
            x = x.add(number) if number % 2 else x.mul(number)
        return x.sum()

    unrolled = "x" + "".join(f".add({n})" for n in range(14))
    replay = replayed(eval(f"lambda x: {unrolled}.sum()"), x=drawn(2))
    assert max(len(site.step.func.steps) for site in regions(replay, ["x"])) == 11
    assert list(regions(replayed(long, x=drawn(2)), ["x"])) == []  # a loop
    spread = replayed(lambda x, y: ((x + y) * 2).sin().sum(), x=drawn(2, 3), y=drawn(3))
    assert [[step.name for step in site.step.func.steps] for site in regions(spread, ["x", "y"])] == [["mul", "sin"]]
