"""Linear maps of an array onto one of its shape: which are found, and what is none."""

import pytest

torch = pytest.importorskip("torch")
from replays import drawn, replayed  # noqa: E402 (needs torch)

from torch_reference.checker.derivations import maps as module  # noqa: E402
from torch_reference.checker.derivations.maps import maps  # noqa: E402

X, Y = drawn(3, 4), drawn(3, 4, seed=1)


def found(function, wrong=("x",), inner=False, **inputs):
    """Return the steps of each map of an input, or of a result within."""
    replay = replayed(lambda **given: function(**given).exp().sum(), **({"x": X} | inputs))
    sites = list(maps(replay, list(wrong)))
    for site in sites:  # each computes what its steps compute
        local = replay.at(site.step)
        torch.testing.assert_close(local.compute(*local.operands), replay.values[site.step.outputs[0]])
        own, *others = local.operands
        both, none = (local.compute(array, *others) for array in (own + 2, torch.zeros_like(own)))
        torch.testing.assert_close(
            both - none, local.compute(2 * torch.ones_like(own), *others) + local.compute(own, *others) - 2 * none
        )
    leaves = replay.tape.leaves.values()
    chosen = [site for site in sites if (site.step.inputs[0] not in leaves) == inner]
    return [[step.name for step in site.step.func.steps] for site in chosen]


def test_a_map_of_several_steps():
    assert found(lambda x: 2 * x.flip(0) + 1) == [["flip", "mul"], ["flip", "mul", "add"]]
    assert found(lambda x: torch.cat([-x[:, 2:], x[:, :2]], 1)) == [["slice", "neg", "slice", "cat"]]
    assert found(lambda x: torch.cat([b - a for a, b in [x.chunk(2, 1)]] * 2, 1)) == [["split", "sub", "cat"]]


def test_a_map_stands_where_its_last_step_does():
    def reference(x):
        turned = x.flip(0)
        return (turned * 2).exp().sum()

    (site,) = [site for site in maps(replayed(reference, x=X), ["x"]) if len(site.step.func.steps) > 1]
    assert site.step.place.line == reference.__code__.co_firstlineno + 2


def test_a_map_of_a_result():
    assert found(lambda x: 3 * torch.tanh(x).flip(0).flip(1), inner=True) == [
        ["flip", "mul"], ["flip", "flip"], ["flip", "flip", "mul"]]  # fmt: skip


def test_one_step_is_no_map_of_several():
    assert found(lambda x: x.cumsum(0)) == []
    assert found(lambda x: x.reshape(4, 3).t()[:, :4] * 1.0) == []


@pytest.mark.parametrize(
    ("function", "names"),
    [
        (lambda x, y: (x * y).flip(0), [["mul", "flip"]]),
        (lambda x, y: (x * x.flip(0)).flip(0), []),
        (lambda x, y: (y.flip(0) / x).flip(0), []),
        (lambda x, y: (x.flip(0) / y).flip(0), [["flip", "div"], ["flip", "div", "flip"]]),
        (lambda x, y: x.flip(0) + torch.tanh(x), []),
        (lambda x, y: x.flip(0).sum(1, keepdim=True), []),
    ],
)
def test_factors_do_not_depend_on_the_array(function, names):
    assert found(function, y=Y) == names


def test_a_loop_is_a_map_as_a_whole():
    def scan(x, y):
        states = [x[0]]
        for step in range(1, 4):
            states.append(y[step] * states[-1] + x[step])
        return torch.stack(states)

    x, y = drawn(4, 3), drawn(4, 3, seed=1)
    assert found(scan, x=x, y=y) == [["select", *["mul", "select", "add"] * 3, "stack"]]
    assert found(scan, inner=True, x=x, y=y) == []


def test_only_what_wrong_gradients_go_through():
    assert found(lambda x, y: x.flip(0).flip(1) + y, wrong=["y"], y=Y) == []


def test_only_so_many_steps_are_followed(monkeypatch):
    monkeypatch.setattr(module, "LONGEST", 2)
    assert found(lambda x: 2 * x.flip(0) + 1) == [["flip", "mul"]]
