"""What is said of outputs of whole numbers: which differ and how, and whether they differ where entries tie."""

import pytest

torch = pytest.importorskip("torch")
from torch_reference import crosscheck_function  # noqa: E402 (needs torch)
from torch_reference.checker.functions.experiment import Experiment  # noqa: E402
from torch_reference.checker.functions.whole_numbers import whole_numbers  # noqa: E402

SAME = "The same numbers as the reference's."


def judged(returned, right):
    """Return the verdict on the second output of a function whose reference returns a constant."""
    reference = lambda x: (x, torch.tensor(right))  # noqa: E731
    experiment = Experiment(reference, reference, {"x": torch.ones(2)}, 0, torch.device("cpu"))
    outputs = {"output.0": torch.ones(2), "output.1": torch.tensor(returned)}
    found = whole_numbers(experiment, outputs, {"output.0": torch.ones(2), "output.1": torch.tensor(right)})
    assert list(found) == ["output.1"]
    return found["output.1"]


@pytest.mark.parametrize(
    ("returned", "code", "message", "wrong"),
    [
        ([1, 2, 3, 4], "shape", SAME, 0),
        ([[1, 2], [3, 4]], "match", SAME, 0),
        (
            [[1, 2], [3, 5]],
            "partial",
            "1 of 4 entries is wrong: [1, 1]. There manual is 1.25 times the right numbers.",
            1,
        ),
        ([[2, 1], [4, 3]], "permutation", "The right values, reversed along axis 1.", 4),
        ([[2, 3], [4, 5]], "term", "manual = right numbers + 1: the constant 1 is too much.", 4),
        ([[0, 1], [2, 3]], "term", "manual = right numbers - 1: the constant 1 is missing.", 4),
        ([[2, 4], [6, 8]], "scale", "manual = 2 * right numbers", 4),
        ([[0, 0], [0, 0]], "zero", "It is all zeros, but the right numbers is not.", 4),
        ([[9, 7], [7, 8]], "mismatch", "4 of 4 entries are wrong.", 4),
    ],
)
def test_whole_numbers_have_to_be_the_same(returned, code, message, wrong):
    found = judged(returned, [[1, 2], [3, 4]])
    assert (found.code, found.wrong) == (code, wrong)
    assert found.message.startswith(message)
    assert "tie" not in found.message


@pytest.mark.parametrize(
    ("returned", "right", "code"),
    [([5], [3], "mismatch"), ([0, 0], [3, 3], "zero"), ([5, 8], [3, 6], "term"), ([5, 5, 0], [3, 3, -2], "term")],
)
def test_one_number_and_zeros_have_no_constant_added(returned, right, code):
    assert judged(returned, right).code == code


def test_a_reference_that_refuses_other_inputs_has_no_ties():
    def reference(x):
        if (x != 1).any():
            raise ValueError("only ones")
        return x, torch.tensor([1, 2])

    experiment = Experiment(reference, reference, {"x": torch.ones(2)}, 0, torch.device("cpu"))
    outputs = {"output.0": torch.ones(2), "output.1": torch.tensor([1, 3])}
    found = whole_numbers(experiment, outputs, {"output.0": torch.ones(2), "output.1": torch.tensor([1, 2])})
    assert found["output.1"].code == "partial"


def test_truth_values_have_to_be_the_same():
    assert judged([True, False], [True, False]).code == "match"
    assert judged([True, True, False], [True, False, True]).code == "partial"
    assert judged([True, False], [False, True]).code == "mismatch"


class LastOfTies(torch.autograd.Function):
    """The largest of each row and its place, the last of those that tie."""

    @staticmethod
    def forward(ctx, x, off):
        places = x.shape[1] - 1 - x.flip(1).argmax(1) + off
        ctx.mark_non_differentiable(places)
        ctx.save_for_backward(places - off)
        ctx.width = x.shape[1]
        return x.amax(1), places

    @staticmethod
    def backward(ctx, upstream, _):
        (places,) = ctx.saved_tensors
        return upstream[:, None] * torch.nn.functional.one_hot(places, ctx.width), None


@pytest.mark.parametrize(("off", "tied"), [(0, True), (1, False)])
def test_where_they_differ_at_ties_alone_the_message_says_so(off, tied):
    x = torch.randn(5, 4, generator=torch.Generator().manual_seed(0))
    x[2, 1] = x[2, 3] = 5.0
    report = crosscheck_function(LastOfTies.apply, lambda x, _: tuple(x.max(1)), {"x": x, "off": off})
    found = report.gradients["output.1"]
    assert not found.ok
    assert found.wrong == (1 if tied else 5)
    assert ("There entries tie, and the reference takes another one of them." in found.message) == tied
    assert report.gradients["x"].code == "kink"
