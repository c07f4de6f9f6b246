"""A function at one point: what is drawn, shown and moved there."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch_reference.checker.functions import experiment as module  # noqa: E402 (needs torch)
from torch_reference.checker.functions.experiment import Experiment  # noqa: E402

X = torch.tensor([[1.0, -2, 4], [8, 16, -32]], dtype=torch.float64)


def square(x, power=2, **rest):
    return x**power


def point(function=square, seed=0, **more):
    return Experiment(function, square, {"x": X, **more}, seed, torch.device("cpu"))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_no_upstream_gradient_is_near_zero(dtype):
    outputs = {"output.0": torch.ones(500, dtype=dtype), "output.1": torch.ones(2, dtype=torch.int64)}
    drawn = point().upstream(outputs)
    assert list(drawn) == ["output.0"]
    assert drawn["output.0"].dtype == dtype
    assert drawn["output.0"].abs().min() >= 0.25
    assert drawn["output.0"].abs().min() < 0.3  # of 500 normal ones some are
    assert torch.equal(drawn["output.0"], point().upstream(outputs)["output.0"])
    assert not torch.equal(drawn["output.0"], point(seed=1).upstream(outputs)["output.0"])


def test_the_numbers_of_the_problem():
    shown = point(power=2, rate=0.5, causal=True, mode="same", labels=torch.tensor([3]))._shown({"output": X[0]})
    assert {name: value.tolist() for name, value in shown.items()} == {
        "the upstream gradient of output": X[0].tolist(),
        "x": X.tolist(),
        "power": 2,
        "rate": 0.5,
        "labels": [3],
    }


def test_inputs_move_to_both_sides_by_no_more_than_so_much():
    upstream = {"output": torch.ones_like(X)}
    answers, tensors = point()._elsewhere(0.25, upstream, {"output": X, "x": X})
    relative = (tensors["x"] / X - 1).numpy()
    assert np.abs(relative).max() <= 0.25
    assert np.abs(relative).max() > 0.1
    assert relative.min() < 0 < relative.max()
    np.testing.assert_array_equal(answers["output"], tensors["x"] ** 2)
    np.testing.assert_array_equal(answers["x"], 2 * tensors["x"])
    assert tensors["output"] is X


def test_nothing_is_known_where_the_function_refuses():
    def refuses(x, power=2):
        raise ValueError("not there")

    assert point(refuses)._elsewhere(0.25, {"output": X}, {}) is None


def test_the_search_for_a_wrong_step_has_to_be_asked_for(monkeypatch):
    asked = []
    monkeypatch.setattr(module, "judge", lambda *arguments: asked.append(arguments[-1]))
    here = point()
    upstream = here.upstream(here.run().outputs)
    answer, shapes = here.run().answer(upstream, 0), {"output": X.shape}
    here.judge(answer, upstream, shapes)
    here.judge(answer, upstream, shapes, search=True)
    assert asked == [False, True]
