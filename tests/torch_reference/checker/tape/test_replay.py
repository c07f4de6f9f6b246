"""A recorded reference replayed: as it was, by other rules, and one step by itself."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch_reference.checker.reference.evaluation import Reference  # noqa: E402 (needs torch)
from torch_reference.checker.tape.recording import record  # noqa: E402
from torch_reference.checker.tape.replay import Local, Replay, own_backward, reads, way  # noqa: E402


def loss(x, w):
    h = x @ w
    unused = h.exp() * 3  # noqa: F841
    y = torch.relu(h)
    return (y * y).sum()


def replayed(function=loss, wanted=("x", "w"), composite=False, **inputs):
    rng = np.random.default_rng(0)
    inputs = inputs or {"x": rng.normal(size=(4, 3)), "w": rng.normal(size=(3, 2))}
    reference = Reference(function, inputs, tuple(wanted))
    return Replay(*record(reference, composite), list(wanted)), reference


def step_of(replay, name):
    (step,) = [step for step in replay.tape.steps if step.name == name]
    return step


def assert_gradients(found, expected):
    for name, value in expected.items():
        np.testing.assert_allclose(found[name].numpy(), value, rtol=1e-13, atol=1e-13)


def test_the_steps_are_those_that_the_loss_needs_each_with_its_line():
    replay, _ = replayed()
    assert [step.name for step in replay.tape.steps] == ["mm", "relu", "mul", "sum"]
    assert [step.number for step in replay.tape.steps] == [0, 1, 2, 3]
    first_line = loss.__code__.co_firstlineno
    assert [step.place.line - first_line for step in replay.tape.steps] == [1, 3, 4, 4]
    assert [step.place.call for step in replay.tape.steps] == ["matmul", "relu", "mul", "sum"]
    assert replay.tape.steps[1].place.text == "y = torch.relu(h)"
    assert {step.place.outer for step in replay.tape.steps} == {0}
    assert replay.tape.leaves == {"x": 0, "w": 1}
    assert reads(replay.tape, 0) == [replay.tape.steps[0]]


def test_the_line_of_the_reference_is_that_of_its_call():
    def reference(x, w):
        scale = 1.0
        return scale * loss(x, w)

    replay, _ = replayed(reference)
    relu = step_of(replay, "relu").place
    assert relu.line == loss.__code__.co_firstlineno + 3
    assert relu.outer == reference.__code__.co_firstlineno + 2


def test_replayed_as_it_was_the_gradients_are_autograd_s():
    replay, reference = replayed()
    assert_gradients(replay.base, reference.gradients())
    assert_gradients(replay.gradients({}), reference.gradients())
    only, reference = replayed(wanted=("w",))
    assert list(only.base) == ["w"]
    assert_gradients(only.base, reference.gradients())


def test_in_place_operations_are_recorded_by_what_they_compute():
    def reference(x, w):
        y = x @ w
        y.mul_(2).add_(1)
        return (y * y).sum()

    replay, reference = replayed(reference)
    assert [step.name for step in replay.tape.steps] == ["mm", "mul", "add", "mul", "sum"]
    assert_gradients(replay.base, reference.gradients())


def test_a_step_may_follow_another_rule():
    replay, _ = replayed()
    relu = step_of(replay, "relu")
    x, w = (replay.values[number].detach().numpy() for number in (0, 1))
    doubled = replay.gradients({relu.number: lambda values, replay: 2 * relu.run(values)})
    assert_gradients(doubled, {name: 4 * value.numpy() for name, value in replay.base.items()})

    def ones(values, replay):  # relu whose derivative is left out
        return own_backward(replay.at(relu), lambda grad: [grad])

    upstream = 2 * np.maximum(x @ w, 0)
    assert_gradients(replay.gradients({relu.number: ones}), {"x": upstream @ w.T, "w": x.T @ upstream})


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0, -1.0, 2.0])
def test_a_way_has_the_same_value_and_a_share_of_the_gradient(share):
    replay, _ = replayed()
    product = step_of(replay, "mm")

    def shared(values, replay):
        return product.run(values, [way(values[0], share), values[1]])

    changed = replay.gradients({product.number: shared})
    assert_gradients(changed, {"x": share * replay.base["x"].numpy(), "w": replay.base["w"].numpy()})
    torch.testing.assert_close(replay.loss({product.number: shared}), replay.loss({}), rtol=1e-14, atol=0)


def test_one_step_by_itself():
    replay, _ = replayed()
    product = step_of(replay, "mm")
    local = replay.at(product)
    x, w = (replay.values[number].detach() for number in (0, 1))
    grad = torch.ones(4, 2, dtype=torch.float64)
    first, second = local.vjp(grad)
    assert_gradients({"x": first, "w": second}, {"x": (grad @ w.T).numpy(), "w": (x.T @ grad).numpy()})
    assert local.vjp(grad)[0] is first  # asked for again
    assert local.vjp(2 * grad)[0] is not first
    moved, _ = local.vjp(grad, at={1: 3 * w})
    assert_gradients({"x": moved}, {"x": 3 * first.numpy()})
    assert sorted(tuple(kept.shape) for kept in local.saved()) == [(3, 2), (4, 3)]
    place = next(place for place, kept in enumerate(local.saved()) if kept.shape == (3, 2))
    swapped, same = local.vjp(grad, saved={place: 5 * w})
    assert_gradients({"x": swapped, "w": same}, {"x": 5 * first.numpy(), "w": second.numpy()})
    assert replay.at(product) is local


def test_more_gradient_of_a_value_is_pulled_back_to_the_inputs():
    replay, _ = replayed()
    product = step_of(replay, "mm")
    h = replay.values[product.outputs[0]]
    more = torch.ones_like(h)
    x, w = (replay.values[number].detach().numpy() for number in (0, 1))
    pulled = replay.pulled([h], [more])
    expected = {
        "x": replay.base["x"].numpy() + np.ones((4, 2)) @ w.T,
        "w": replay.base["w"].numpy() + x.T.sum(1)[:, None],
    }
    assert_gradients(pulled, expected)
    np.testing.assert_allclose(
        replay.upstream[product.outputs[0]].numpy(), 2 * np.maximum(x @ w, 0), rtol=1e-13, atol=1e-13
    )


def test_turns_of_a_loop_are_one_group():
    def reference(x, w):
        for _ in range(3):
            x = torch.tanh(x * w)
        return x.sum()

    replay, _ = replayed(reference, x=np.ones((2, 2)), w=np.full((2, 2), 0.5))
    assert sorted((group[0].name, len(group)) for group in replay.groups) == [("mul", 3), ("sum", 1), ("tanh", 3)]
    last = replay.tape.steps[-1]
    assert replay.maker(last.outputs[0]) is last
    assert replay.maker(0) is None


def test_what_has_no_gradient_has_the_gradient_zero():
    def reference(x, w):
        first, _ = x.unbind()
        return (first.sin().sum() * w).sum()

    replay, _ = replayed(reference, x=np.ones((2, 3)), w=np.ones(2))
    unused = step_of(replay, "unbind").outputs[1]
    assert replay.values.keys() - replay.upstream.keys() == {unused}
    sine = step_of(replay, "sin")
    pulled = replay.pulled([replay.values[sine.outputs[0]]], [torch.ones(3).double()])
    assert pulled["w"] is replay.base["w"]
    gone = replay.gradients({sine.number: lambda values, replay: sine.run(values).detach()})
    assert_gradients(gone, {"x": np.zeros((2, 3)), "w": np.full(2, 3 * np.sin(1))})
    loss = replay.tape.steps[-1]
    gone = replay.gradients({loss.number: lambda values, replay: loss.run(values).detach()})
    assert_gradients(gone, {"x": np.zeros((2, 3)), "w": np.zeros(2)})

    replay, _ = replayed()
    product = step_of(replay, "mm")
    forgetful = replace(product, func=lambda x, w: 3 * x)
    first, second = Local(forgetful, replay.values, replay).vjp(torch.ones(4, 3).double())
    assert_gradients({"x": first, "w": second}, {"x": np.full((4, 3), 3), "w": np.zeros((3, 2))})


def test_all_results_of_a_step_are_there_beside_a_backward_pass_of_its_own():
    replay, _ = replayed(lambda x, w: (x.max(1).values * w[:, 0].sum()).sum())
    local = replay.at(step_of(replay, "max"))
    values, places = own_backward(local, lambda grad: [5 * local.operands[0]])
    assert torch.equal(values, replay.values[0].amax(1))
    assert torch.equal(places, replay.values[0].argmax(1))
    (found,) = torch.autograd.grad(values.sum(), replay.values[0])
    assert torch.equal(found, 5 * replay.values[0])


def test_a_loss_by_steps_that_nobody_saw_is_refused():
    reference = Reference(lambda x: torch.tensor(3.0), {"x": np.ones(2)}, ("x",))
    with pytest.raises(TypeError, match="not computed by recorded steps"):
        record(reference)
