"""Planted mistakes of derivation: the step that went wrong is named, and nothing is where nothing fits."""

import re

import numpy as np
import pytest

torch = pytest.importorskip("torch")
import wrong_derivations  # noqa: E402 (needs torch)
from replays import drawn, replayed  # noqa: E402
from wrong_derivations.garbage import GARBAGE  # noqa: E402

from torch_reference import crosscheck  # noqa: E402
from torch_reference.checker import derived  # noqa: E402
from torch_reference.checker.derivations.change import sentence  # noqa: E402
from torch_reference.checker.derivations.derivation import affordable  # noqa: E402
from torch_reference.checker.derivations.kinds.catalogue.results import RESULTS  # noqa: E402
from torch_reference.checker.derivations.kinds.catalogue.slopes import SLOPES  # noqa: E402

UNEXPLAINED = {"mismatch", "partial"}
CASES = [(mistake, *case) for mistake in wrong_derivations.MISTAKES for case in mistake.cases()]
LAYERS = sorted({mistake.layer for mistake in wrong_derivations.MISTAKES}, key=lambda layer: layer.__name__)


def answers(case):
    """Return the wrong gradients of a case, as the check reports them."""
    mistake, _, manual, reference, _ = case
    report = crosscheck(manual, reference, mistake.layer().inputs(np.random.default_rng(len(mistake.wrong))))
    wrong = [gradient for gradient in report.gradients.values() if not gradient.ok]
    assert wrong, f"{mistake} is not found"
    return wrong


def named(case):
    """Say whether the check names a step that is wrong, and whether it is the right one; None if it names none."""
    return judged(case, answers(case))


def judged(case, wrong):
    if all(gradient.code in {"scale", "sign", "term", "zero"} for gradient in wrong):
        return True  # a simple cause comes first
    told = [gradient.message for gradient in wrong if re.search(r" in line \d+, ", gradient.message)]
    if not told or any(gradient.code in UNEXPLAINED for gradient in wrong):
        return None
    return any(re.search(case[-1], message.split(" Or: ")[0]) for message in told)


@pytest.fixture(scope="module")
def table():
    """The answers to all planted mistakes."""
    return [(case, answers(case)) for case in CASES]


@pytest.mark.slow
def test_the_step_that_went_wrong_is_named_in_95_of_100_planted_mistakes_and_no_other_one_is(table):
    found = [judged(*row) for row in table]
    wrongly = [row[0][:2] for row, said in zip(table, found, strict=True) if said is False]
    assert wrongly == []
    assert found.count(True) >= 0.95 * len(CASES), "steps are named too seldom"


@pytest.mark.slow
@pytest.mark.parametrize("entry", [*SLOPES, *RESULTS], ids=sentence)
def test_each_change_of_the_catalogue_explains_a_planted_mistake(entry, table):
    words = re.escape(sentence(entry)).replace(r"\ \(\{right\}\)", r"(\ \(.*\))?")
    assert any(re.search(words, gradient.message) for _, wrong in table for gradient in wrong)


@pytest.mark.parametrize(
    "mistake",
    [
        "TwoLayers-mask_forgotten",
        "TwoLayers-mask_of_the_upstream_gradient",
        "TwoLayers-mask_without_the_bias",
        "TwoLayers-relu_for_its_mask",
        "TwoLayers-pre-activation_in_dW2",
        "TwoLayers-updated_weight",
        "TwoLayers-square_weight_not_transposed",
        "TwoLayers-mask_and_1/N_forgotten",
        "Softmax-softmax_twice",
        "Softmax-softmax_along_the_batch",
        "Softmax-p_(1_-_p)_for_the_Jacobian",
        "BatchNorm-without_the_mean",
        "BatchNorm-without_the_variance",
        "Residual-half_of_the_skip",
        "Tied-tokens_overwritten",
    ],
)
def test_the_commonest_mistakes_are_named(mistake):
    cases = [case for case in CASES if str(case[0]) == mistake]
    assert cases
    for case in cases:
        assert named(case) is True, case[:2]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.__name__)
def test_the_derivations_without_a_mistake_are_right(layer):
    built = layer()
    for name in ("fused", "written"):
        if hasattr(built, name):
            report = crosscheck(
                lambda **inputs: built.manual("", **inputs),
                getattr(built, name),
                built.inputs(np.random.default_rng(1)),
            )
            assert report.ok, report


# each place with one of the changes, each change at one place or more; the others are slow, since all is tried in vain
@pytest.mark.parametrize(
    "garbage",
    [pytest.param(case, id=case[0], marks=[pytest.mark.slow] if k % 6 else []) for k, case in enumerate(GARBAGE)],
)
def test_no_step_is_named_where_none_is_to_blame(garbage):
    _, manual, reference, inputs = garbage
    report = crosscheck(manual, reference, inputs(np.random.default_rng(7)))
    assert not report.ok
    assert not any(" in line " in gradient.message for gradient in report.gradients.values()), report


def test_the_message_says_operation_line_and_what_the_gradient_did_instead():
    def manual(x, w):
        return {"w": x.T @ np.ones((6, 3))}

    def loss(x, w):
        return torch.relu(x @ w).sum()

    rng = np.random.default_rng(0)
    inputs = {"x": rng.standard_normal((6, 4)), "w": rng.standard_normal((4, 3))}
    gradient = crosscheck(manual, loss, inputs).gradients["w"]
    line = loss.__code__.co_firstlineno + 1
    assert gradient.code == "derivative"
    assert gradient.message.startswith(f"relu in line {line}, return torch.relu(x @ w).sum(): its derivative")
    assert "left out" in gradient.message


def test_a_single_wrong_entry_of_many_is_no_step_of_the_derivation(monkeypatch):
    monkeypatch.setattr(derived, "derivation", None)  # is not asked

    def manual(x, w):
        gradient = x.T @ (x @ w > 0)
        gradient[3, 5] *= 2
        return {"w": gradient}

    rng = np.random.default_rng(0)
    inputs = {"x": rng.standard_normal((30, 20)), "w": rng.standard_normal((20, 10))}
    assert crosscheck(manual, lambda x, w: torch.relu(x @ w).sum(), inputs).gradients["w"].code == "partial"


@pytest.mark.parametrize(
    ("reference", "inputs", "work", "cost"),
    [
        # steps / 10, entries / 50,000 and multiplications / 2,000,000
        (lambda x: torch.tanh(x).sum(), {"x": (100, 100)}, 20_000, 1 + 0.2 + 20_001 / 50_000),
        (lambda x: torch.tanh(x).sum(), {"x": (50_000,)}, 60_000, 1 + 0.2 + 100_001 / 50_000),
        (lambda x: torch.tanh(x).sum(), {"x": (49_999,)}, 20_000, 1 + 0.2 + 99_999 / 50_000),
        (lambda x, w: (x @ w).sum(), {"x": (100, 50), "w": (50, 200)}, 20_000, 1 + 0.2 + 35_001 / 50_000 + 0.5),
        (lambda x, w: torch.bmm(x, w).sum(), {"x": (4, 10, 50), "w": (4, 50, 20)}, 20_000,
         1 + 0.2 + 6_801 / 50_000 + 0.02),
        (lambda x, w: torch.nn.functional.conv2d(x, w).sum(), {"x": (2, 3, 12, 12), "w": (5, 3, 3, 3)}, 20_000,
         1 + 0.2 + 2_000 / 50_000 + 27_000 / 2_000_000),
    ],
)  # fmt: skip
def test_how_many_changes_are_tried_depends_on_what_is_computed(reference, inputs, work, cost):
    replay = replayed(reference, **{name: drawn(*shape) for name, shape in inputs.items()})
    assert affordable(replay) == int(work / cost)


def test_a_search_prints_nothing(capfd):
    def manual(x, y):  # what PyTorch says of outputs that it has to resize comes from C++
        return {"x": np.sign(x - y) / x.size}

    def reference(x, y):
        return torch.nn.functional.huber_loss(x, y)

    rng = np.random.default_rng(0)
    report = crosscheck(manual, reference, {"x": rng.standard_normal(8), "y": rng.standard_normal(8)})
    assert report.gradients["x"].code == "derivative"
    assert capfd.readouterr() == ("", "")


def test_softmax_before_cross_entropy_is_a_mistake_of_the_reference():
    def manual(logits, labels):
        p = np.exp(logits - logits.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        return {"logits": (p - np.eye(4)[labels]) / len(p)}

    def reference(logits, labels):
        p = torch.softmax(logits, dim=1)
        return torch.nn.functional.cross_entropy(p, labels)

    rng = np.random.default_rng(0)
    inputs = {"logits": rng.standard_normal((6, 4)), "labels": rng.integers(0, 4, 6)}
    gradient = crosscheck(manual, reference, inputs).gradients["logits"]
    assert gradient.code == "reference"
    assert "softmax in line" in gradient.message


def test_a_manual_that_refuses_moved_inputs_is_explained_all_the_same():
    def manual(x):
        if x[0, 0] != 0.5:
            raise ValueError("only this input")
        return {"x": np.ones_like(x)}

    x = np.random.default_rng(0).standard_normal((4, 3))
    x[0, 0] = 0.5
    assert crosscheck(manual, lambda x: torch.relu(x).sum(), {"x": x}).gradients["x"].code == "derivative"


def test_targets_that_manual_relies_on_stay_as_they_are():
    def manual(logits, targets):  # targets that do not add up to 1 have another derivative
        p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        return {"logits": (p - targets) / len(p) * p * (1 - p)}

    def reference(logits, targets):
        return torch.nn.functional.cross_entropy(logits, targets)

    rng = np.random.default_rng(0)
    inputs = {"logits": rng.standard_normal((5, 4)), "targets": rng.dirichlet(np.ones(4), 5)}
    gradient = crosscheck(manual, reference, inputs).gradients["logits"]
    assert gradient.code == "derivative"
    assert "multiplied by p * (1 - p)" in gradient.message
