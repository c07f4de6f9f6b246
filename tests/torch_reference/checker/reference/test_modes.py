"""What is noted of a plain computation, and in which order modes see it."""

import pytest

torch = pytest.importorskip("torch")
from torch_reference.checker.reference.modes import Mode, Watch, stacked  # noqa: E402 (needs torch)
from torch_reference.checker.reference.ties import Recorder  # noqa: E402

BOTH = torch.tensor([1.0, -1.0])


def watched(*computations):
    watch = Watch()
    with watch:
        for computation in computations:
            computation()
    return watch


def test_the_lowest_precision_of_an_array_is_noted():
    assert watched(lambda: torch.tensor(1.0).half() * 2).coarsest == 0.0
    assert watched(lambda: BOTH.double() * 2).coarsest == 2.0**-52
    assert watched(lambda: BOTH * 2, lambda: BOTH.double() * 2).coarsest == 2.0**-23
    assert watched(lambda: BOTH.double().max(0), lambda: BOTH.argmax()).coarsest == 2.0**-52
    assert watched(lambda: BOTH.unbind(), lambda: BOTH.long() * 2).coarsest == 0.0
    assert Watch().coarsest == 0.0


def test_what_is_not_finite_is_noted():
    assert watched(lambda: BOTH * 2).finite
    assert not watched(lambda: BOTH / 0, lambda: BOTH * 2).finite
    assert not watched(lambda: torch.tensor(1.0) / 0).finite
    assert not watched(lambda: (BOTH / 0).max(0)).finite


def test_decisions_have_a_checksum():
    assert watched(lambda: BOTH * 2).decisions == 0
    one, other = (watched(lambda sign=sign: torch.relu(sign * BOTH)).decisions for sign in (1, -1))
    assert len({0, one, other}) == 3
    assert watched(lambda: torch.relu(BOTH)).decisions == one


def test_the_last_mode_sees_an_operation_first_and_decisions_belong_to_the_forward_pass():
    seen = []

    class Named(Mode):
        def run(self, operator, name, args, kwargs):
            seen.append((id(self), name))
            return operator(*args, **kwargs)

    modes = Named(), Named()
    with stacked(modes):
        torch.exp(BOTH)
    assert seen == [(id(mode), "exp") for mode in reversed(modes)]
    assert Named.backward
    assert Watch.backward
    assert not Recorder.backward
