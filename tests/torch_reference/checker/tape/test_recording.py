"""The tape of a small reference: its steps, what each reads and writes, and where each comes from."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from replays import drawn, replayed  # noqa: E402 (needs torch)
from torch.nn import functional as F  # noqa: E402, N812

from torch_reference.checker.reference.evaluation import Reference  # noqa: E402
from torch_reference.checker.tape.recording import record  # noqa: E402


def inner(x):
    return torch.relu(x) + 1


def loss(x):
    hidden = inner(x)
    for _ in range(2):
        hidden = hidden.tanh() * 2
    return F.layer_norm(hidden, (3,)).sum()


FIRST, INNER = loss.__code__.co_firstlineno, inner.__code__.co_firstlineno


def recorded(reference, composite=False, **inputs):
    arrays = {name: np.asarray(value) for name, value in (inputs or {"x": drawn(2, 3)}).items()}
    wanted = tuple(name for name, array in arrays.items() if array.dtype.kind == "f")
    return record(Reference(reference, arrays, wanted), *[True] * composite)[0]


def places(tape):
    return [(step.name, step.place.call, step.place.line, step.place.outer, step.place.formula) for step in tape.steps]


def test_each_step_knows_its_call_its_line_and_that_of_the_reference():
    assert places(recorded(loss, composite=True)) == [
        ("relu", "relu", INNER + 1, FIRST + 1, ""),
        ("add", "add", INNER + 1, FIRST + 1, ""),
        ("tanh", "tanh", FIRST + 3, 0, ""),
        ("mul", "mul", FIRST + 3, 0, ""),
        ("tanh", "tanh", FIRST + 3, 0, ""),
        ("mul", "mul", FIRST + 3, 0, ""),
        ("native_layer_norm", "layer_norm", FIRST + 4, 0, ""),
        ("sum", "sum", FIRST + 4, 0, ""),
    ]


def test_a_composite_operation_shows_its_formula():
    steps = recorded(loss).steps[6:-1]
    assert {(step.place.call, step.place.line, step.place.outer) for step in steps} == {("layer_norm", FIRST + 4, 0)}
    assert [step.place.formula.split(" = ")[0] for step in steps] == [
        *("mean", "centred", "variance", "variance", "deviation", "deviation", "normalised")
    ]
    assert [step.place.text for step in recorded(loss).steps[:1]] == ["return torch.relu(x) + 1"]


def test_a_formula_gets_the_arguments_of_its_call():
    tape = recorded(lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True).sum())
    assert "masked_fill" in [step.name for step in tape.steps]


def test_a_spot_is_that_of_the_instruction_and_the_same_in_each_turn_of_a_loop():
    steps = recorded(loss).steps
    spots = [step.place.spot for step in steps]
    assert spots[2:4] == spots[4:6]
    assert [inner > 0 for _, inner, _ in spots] == [False] * 6 + [True] * 7 + [False]
    assert [part for *_, part in spots] == [1] * 9 + [2] + [1] * 4
    apart = [spot for number, spot in enumerate(spots) if number not in (4, 5)]
    assert len(set(apart)) == len(apart)
    assert all(call > 0 for call, *_ in spots)


def test_what_the_steps_read_and_write():
    tape = recorded(loss, composite=True)
    assert tape.leaves == {"x": 0}
    assert [step.number for step in tape.steps] == list(range(8))
    assert [step.inputs for step in tape.steps] == [[number] for number in range(7)] + [[7]]
    assert [step.outputs for step in tape.steps] == [(1,), (2,), (3,), (4,), (5,), (6,), (7, 8, 9), (10,)]
    assert tape.loss == 10


def test_tensors_that_depend_on_no_input_are_constants_and_their_steps_are_left_out():
    ones = torch.ones(3, dtype=torch.float64)
    tape = recorded(lambda x: (x * (ones + 1) * torch.tensor(3.0) * 2).sum(), x=drawn(3))
    assert [step.name for step in tape.steps] == ["mul", "mul", "mul", "sum"]
    assert [value.tolist() for value in tape.constants.values()] == [[2.0] * 3]
    assert [step.inputs for step in tape.steps] == [[0, number] for number in tape.constants] + [[2], [3], [4]]


def test_whole_numbers_are_no_constants():
    tape = recorded(lambda x, labels: x[labels].sum(), x=drawn(3), labels=np.array([0, 2]))
    assert (tape.leaves, tape.constants) == ({"x": 0}, {})
    assert [step.inputs for step in tape.steps] == [[0], [1]]


def test_what_the_loss_does_not_need_is_left_out():
    def wasteful(x):
        x.exp()
        return x.sin().sum()

    tape = recorded(wasteful)
    assert [(step.number, step.name) for step in tape.steps] == [(0, "sin"), (1, "sum")]


def test_an_operation_in_place_is_written_down_as_what_it_computes():
    tape = recorded(lambda x: x.clone().mul_(2).add_(x).sum())
    assert [step.name for step in tape.steps] == ["clone", "mul", "add", "sum"]
    assert tape.steps[2].inputs == [tape.steps[1].outputs[0], 0]


def test_what_pytorch_itself_overwrites_is_kept_as_it_was():
    network = torch.nn.GRU(4, 3, dtype=torch.float64)  # adds products of inputs to constants, in place
    replay = replayed(lambda x: network(x)[0].exp().sum(), x=drawn(3, 4))
    right = Reference(lambda x: network(x)[0].exp().sum(), {"x": drawn(3, 4)}, ("x",)).gradients()["x"]
    assert not [step.name for step in replay.tape.steps if step.name.endswith("_")]
    np.testing.assert_allclose(replay.base["x"], right, rtol=1e-12)  # sums in another order


def test_a_constant_that_is_written_into_is_kept_as_it_was():
    def filled(x):
        total = torch.zeros(2, 3, dtype=torch.float64)
        total += x
        return total.exp().sum()

    tape = recorded(filled)
    assert [step.name for step in tape.steps] == ["add", "exp", "sum"]
    assert [value.tolist() for value in tape.constants.values()] == [[[0.0] * 3] * 2]


def test_steps_without_gradient_say_so():
    def stopped(x):
        with torch.no_grad():
            scale = x.exp()
        return (scale * x).sum()

    assert [step.constant for step in recorded(stopped).steps] == [True, False, False]


def test_a_loss_of_no_recorded_step_is_refused():
    with pytest.raises(TypeError, match="not computed by recorded steps"):
        recorded(lambda x: torch.zeros((), dtype=torch.float64))
