"""Functions written out by hand are recognised by what they compute, whatever their lines are."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch_reference.checker.derivations import composites as module  # noqa: E402 (needs torch)
from torch_reference.checker.derivations.composites import composites  # noqa: E402
from torch_reference.checker.derivations.functions import binary_cross_entropy  # noqa: E402
from torch_reference.checker.derivations.regions import regions  # noqa: E402
from torch_reference.checker.reference.evaluation import Reference  # noqa: E402
from torch_reference.checker.tape.recording import record  # noqa: E402
from torch_reference.checker.tape.replay import Replay  # noqa: E402

LABELS = torch.tensor([2, 0, 1, 3, 3])


def replay(function):
    x = np.random.default_rng(0).standard_normal((5, 4))
    tape, tensors = record(Reference(lambda x: (function(x) ** 3).sum(), {"x": x}, ("x",)))
    return Replay(tape, tensors, ["x"])


def powers(x):
    shifted = torch.exp(x - x.amax(1, keepdim=True))
    return shifted / shifted.sum(1, keepdim=True)


def standardised(x):
    centred = x - x.mean(0)
    return centred / ((centred**2).mean(0) + 1e-3).sqrt()


WRITTEN = {
    "softmax": (powers, torch.softmax),
    "log_softmax": (lambda x: x - torch.logsumexp(x, 1, keepdim=True), torch.log_softmax),
    "sigmoid": (lambda x: 1 / (1 + torch.exp(-x)), torch.sigmoid),
    "relu": (lambda x: x * (x > 0), torch.relu),
    "tanh": (lambda x: 1 - 2 / (torch.exp(2 * x) + 1), torch.tanh),
    "silu": (lambda x: x * torch.sigmoid(x), torch.nn.functional.silu),
    "normalize": (standardised, None),
    "cross_entropy": (lambda x: -torch.log(powers(x)[torch.arange(5), LABELS]), None),
}


@pytest.mark.parametrize("name", WRITTEN)
def test_what_is_written_out_is_recognised(name):
    written, function = WRITTEN[name]
    made = replay(written)
    found = {site.place.call: site for site in composites(made, ["x"])}
    assert name in found
    leaf = made.values[made.tape.leaves["x"]]
    if function is not None:
        site = found[name]
        args = (1,) if "softmax" in name else ()
        torch.testing.assert_close(made.at(site.step).compute(leaf), function(leaf, *args))


ALL = {
    "softmax": [("_softmax", "softmax", (1, False), True)],
    "log_softmax": [("_log_softmax", "log_softmax", (1, False), False)],
    "sigmoid": [("sigmoid", "sigmoid", (), False)] * 2,  # of x, and of the result of a step
    "relu": [("relu", "relu", (), False)],
    "tanh": [("tanh", "tanh", (), False)],
    "silu": [("silu", "silu", (), False)],
    "normalize": [("normalize", "normalize", (), True)],
    "cross_entropy": [
        ("_softmax", "softmax", (1, False), True),
        ("_log_softmax", "cross_entropy", (1, False), True),
        ("_log_softmax", "cross_entropy", (1, False), True),
    ],
}


@pytest.mark.parametrize("name", WRITTEN)
def test_all_that_is_recognised_and_nothing_else(name):
    function = WRITTEN[name][0]
    found = composites(replay(function), ["x"])
    described = [(site.step.name, site.place.call, site.step.flat[1:], bool(site.note)) for site in found]
    assert described == ALL[name]
    assert all(len(site.steps) == 1 and site.step.inputs == [0] for site in found)
    assert all((site.picked is not None) == (site.place.call == "cross_entropy") for site in found)


@pytest.mark.parametrize(("error", "recognised"), [(0.5e-10, True), (1.5e-10, False)])
def test_how_near_a_value_has_to_be(error, recognised):
    def written(x):
        y = powers(x)
        off = torch.zeros_like(y)
        off[3, 2] = error * (1 + y.detach().max())
        return y + off

    found = [site for site in composites(replay(written), ["x"]) if site.step.name == "_softmax"]
    assert len(found) == 1 + recognised  # powers themselves are


@pytest.mark.parametrize("sign", [1, -1])
def test_a_cross_entropy_of_either_sign(sign):
    written = replay(lambda x: sign * torch.log(powers(x)[torch.arange(5), LABELS]))
    sites = [site for site in composites(written, ["x"]) if site.place.call == "cross_entropy"]
    assert len(sites) == 2  # before and after the sign
    whole = torch.arange(20.0).reshape(5, 4)
    picked = {tuple(site.picked(whole).tolist()) for site in sites}
    right = whole[torch.arange(5), LABELS]
    assert tuple((sign * right).tolist()) in picked


@pytest.mark.parametrize("sign", [1, -1])
def test_binary_cross_entropy_written_out_of_either_sign(sign):
    targets = np.random.default_rng(1).random((5, 4))

    def function(x, t):
        p = torch.sigmoid(x)
        return (sign * (t * torch.log(p) + (1 - t) * torch.log(1 - p))).sum()

    x = np.random.default_rng(0).standard_normal((5, 4))
    tape, tensors = record(Reference(function, {"x": x, "t": targets}, ("x",)))
    made = Replay(tape, tensors, ["x"])
    found = [site for site in composites(made, ["x"]) if site.place.call == "binary_cross_entropy"]
    assert found
    assert {tuple(site.step.inputs) for site in found} == {(made.tape.leaves["x"], made.tape.leaves["t"])}
    signs = {float(site.picked(torch.ones(1).double())) for site in found}
    assert signs == ({-1.0} if sign == 1 else {1.0, -1.0})


def test_all_turns_of_a_loop_are_one_place():
    def function(x):
        for _ in range(3):
            x = 1 / (1 + torch.exp(-x))
        return x

    found = [site for site in composites(replay(function), ["x"]) if site.step.name == "sigmoid"]
    assert [len(site.steps) for site in found if len(site.steps) == 3] != []
    assert all(len(site.steps) == 3 for site in found)


def test_long_loops_are_looked_through_once_for_each_array(monkeypatch):
    asked = []
    monkeypatch.setattr(
        module, "binary_cross_entropy", lambda *given: asked.append(given) or binary_cross_entropy(*given)
    )

    def function(x):
        for _ in range(20):
            x = torch.sigmoid(x) * torch.tanh(x)
        return x

    made = replay(function)
    composites(made, ["x"])
    assert 0 < len(asked) <= len(made.values)


def test_a_normalisation_knows_its_axes_and_its_epsilon():
    (site,) = [site for site in composites(replay(standardised), ["x"]) if site.step.name == "normalize"]
    assert site.step.func.axes == (0,)
    assert site.step.func.epsilon == pytest.approx(1e-3)


def test_nothing_is_recognised_in_single_operations():
    assert composites(replay(lambda x: torch.tanh(torch.softmax(x, 1))), ["x"]) == []


def test_a_formula_of_one_array_computes_what_its_steps_compute():
    made = replay(lambda x: 0.8 * (x + 0.04 * x**3))
    found = list(regions(made, ["x"]))
    assert found
    for site in found:
        computed = made.at(site.step).compute(*made.at(site.step).operands)
        torch.testing.assert_close(computed, made.values[site.step.outputs[0]])
