"""The parts that changes are made of: rules for every step of a site, and what they refuse."""

from types import SimpleNamespace

import pytest

torch = pytest.importorskip("torch")
from replays import drawn, local_of, replayed  # noqa: E402 (needs torch)

from torch_reference.checker.derivations.change import (  # noqa: E402
    Change,
    NotApplicableError,
    checked,
    derived,
    every,
    exchanged,
    flowing,
    sentence,
    value,
    which,
)
from torch_reference.checker.derivations.site import Site, sites  # noqa: E402

REPLAY = replayed(lambda x, w: torch.tanh(x @ w).sum(), x=drawn(2, 3), w=drawn(3, 4))
PRODUCT = next(site for site in sites(REPLAY, ["x"]) if site.step.name == "mm")


def test_a_site_may_pass_other_gradients_on():
    change = derived(PRODUCT, "words", lambda local, grad, share: [3 * each for each in local.vjp(grad)], 0.25)
    assert (change.code, change.words, change.rank, change.site) == ("derivative", "words", 0.25, PRODUCT)
    assert (change.fitted, change.share, change.named) == (False, 0.0, None)
    found = REPLAY.gradients(change.rules(0.0))
    for name, right in REPLAY.base.items():
        torch.testing.assert_close(found[name], 3 * right)
    assert not Change("path", PRODUCT, "words", change.rules, 0.25).fitted
    wrong = derived(PRODUCT, "words", lambda local, grad, share: [grad, grad], 0.25, True, "path")
    assert (wrong.code, wrong.fitted) == ("path", True)
    with pytest.raises(NotApplicableError):
        REPLAY.gradients(wrong.rules(0.0))


def test_all_turns_follow_the_rule_with_its_number_and_what_is_picked_of_the_result():
    replay = replayed(lambda x: torch.exp(torch.exp(x)).sum(), x=drawn(3))
    steps = tuple(step for step in replay.tape.steps if step.name == "exp")
    rules = every(Site(steps, steps), lambda local, share: (share * local.operands[0], "more"))(5.0)
    assert sorted(rules) == [step.number for step in steps]
    result, more = rules[steps[1].number](replay.values, replay)
    assert torch.equal(result, 5 * replay.values[steps[0].outputs[0]])
    assert more == "more"
    picked = every(Site(steps, steps, picked=lambda result: result[:1]), lambda local, share: (local.operands[0], 0))
    assert torch.equal(picked(0.0)[steps[0].number](replay.values, replay), replay.values[0][:1])


def test_gradients_of_the_shapes_of_their_operands_are_passed_on():
    local = REPLAY.at(PRODUCT.step)
    right = [torch.zeros(2, 3), torch.zeros(3, 4)]
    assert checked(local, right) is right
    for wrong in ([torch.zeros(2, 3), torch.zeros(4, 3)], [torch.zeros(3, 2), torch.zeros(3, 4)]):
        with pytest.raises(NotApplicableError):
            checked(local, wrong)


def test_operands_with_a_gradient_are_told_by_their_places():
    local = local_of("mul", lambda x: (torch.full((3,), 2.0) * x).sum(), x=drawn(3))
    assert flowing(local) == [1]
    assert flowing(REPLAY.at(PRODUCT.step)) == [0, 1]


def test_an_operand_is_numbered_where_there_are_several():
    places = [which(SimpleNamespace(operands=range(7)), k) for k in range(7)]
    ordinals = ["first", "second", "third", "fourth", "fifth", "sixth", "sixth"]
    assert places == [f" for its {ordinal} operand" for ordinal in ordinals]
    assert which(SimpleNamespace(operands=range(2)), 1) == " for its second operand"
    assert which(SimpleNamespace(operands=range(1)), 0) == ""


def test_a_value_may_have_the_derivative_of_another():
    assert torch.equal(value(REPLAY.at(PRODUCT.step)), REPLAY.values[PRODUCT.step.outputs[0]])
    assert not value(REPLAY.at(PRODUCT.step)).requires_grad
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    mixed = exchanged(x * x, 5 * x)
    assert mixed.tolist() == [1, 4]
    mixed.sum().backward()
    assert x.grad.tolist() == [5, 5]
    with pytest.raises(NotApplicableError):
        exchanged(x, x[:1])


def test_an_entry_of_a_table_is_its_words():
    def entry():
        """It is left out."""

    assert sentence(entry) == "it is left out"
    assert sentence(lambda: None) == ""
