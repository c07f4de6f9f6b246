"""Formulas of one array: how long they are, where they begin and end, and that they compute what their steps do."""

import pytest

torch = pytest.importorskip("torch")
from replays import drawn, replayed  # noqa: E402 (needs torch)

from torch_reference.checker.derivations.regions import regions  # noqa: E402


def lengths(reference, **inputs):
    """Return the names of the steps of each formula."""
    replay = replayed(reference, **inputs)
    found = list(regions(replay, list(inputs)))
    for site in found:
        (step,) = site.steps
        local = replay.at(step)
        assert site.group == site.steps
        assert step.place.formula == ""
        assert step.name == "formula"
        computed = local.compute(*local.operands)
        assert computed.requires_grad
        torch.testing.assert_close(computed, replay.values[step.outputs[0]], rtol=0, atol=0)
        assert step.outputs == step.func.steps[-1].outputs
        assert step.number == step.func.steps[-1].number
        assert tuple(step.inputs) == step.func.reads
    return [" ".join(step.name for step in site.step.func.steps) for site in found]


def test_a_formula_ends_anywhere_and_begins_anywhere_before():
    assert lengths(lambda x: torch.tanh(torch.sin(torch.exp(x))).sum(), x=drawn(3)) == [
        "sin tanh",
        "exp sin tanh",
        "exp sin",
    ]


def test_a_formula_has_less_than_a_dozen_steps():
    def chain(x):
        return torch.tanh(torch.sin(torch.sin(torch.sin(torch.sin(torch.sin(torch.sin(torch.sin(h(x)))))))))

    def h(x):
        return torch.cos(torch.cos(torch.cos(torch.cos(torch.cos(torch.cos(x))))))

    found = lengths(lambda x: chain(x).sum(), x=drawn(2))
    assert [len(each.split()) for each in found if each.endswith("tanh")] == list(range(2, 12))


def test_all_ways_have_to_go_through_one_array_of_the_same_shape():
    assert lengths(lambda x: (torch.sin(x) * torch.exp(x)).sum(), x=drawn(3)) == ["sin exp mul"]
    assert lengths(lambda x, w: (torch.sin(x) * torch.exp(w)).sum(), x=drawn(3), w=drawn(3)) == []
    assert lengths(lambda x: torch.tanh(torch.sin(x).sum() * torch.exp(x)).sum(), x=drawn(3)) == []
    assert lengths(lambda x: (torch.sin(x) + torch.zeros(2, 3)).sum(), x=drawn(3)) == []


def test_constants_are_read_as_they_are():
    mask = torch.tensor([1.0, 0.0, 2.0])
    found = lengths(lambda x: ((mask - torch.sin(x)) * mask.sqrt()).sum(), x=drawn(3))
    assert found == ["sub mul", "sin sub mul", "sin sub"]


def test_other_operations_and_loops_end_a_formula():
    def loop(x):
        for _ in range(2):
            x = torch.tanh(torch.sin(x))
        return x.sum()

    assert lengths(lambda x: torch.tanh(torch.cumsum(torch.sin(x), 0)).sum(), x=drawn(3)) == []
    assert lengths(loop, x=drawn(3)) == []
