"""Functions written out by hand are recognised by what they compute, whatever their lines are."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch_reference.checker.derivations.composites import composites  # noqa: E402 (needs torch)
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
