import numpy as np
import pytest

from manual_backprop import MLP

torch = pytest.importorskip("torch")
from torch_reference.networks.mlp import ReferenceMLP  # noqa: E402 (needs torch)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sizes", [(4, 3), (4, 5, 3), (4, 6, 5, 3)])
def test_weights_cross_over_and_back_without_loss(rng, sizes, dtype):
    mlp = MLP(
        {name: rng.normal(size=value.shape).astype(dtype) for name, value in MLP.xavier(sizes).parameters.items()}
    )
    module = ReferenceMLP.from_manual(mlp)
    assert list(module.state_dict()) == list(mlp.parameters)
    for name, value in module.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), mlp.parameters[name].T)
    for name, value in module.to_manual().items():
        np.testing.assert_array_equal(value, mlp.parameters[name])
        assert value.dtype == dtype
        assert value.flags.c_contiguous


def test_neither_side_sees_the_other_ones_changes():
    mlp = MLP.xavier([4, 3])
    before = {name: value.copy() for name, value in mlp.parameters.items()}
    module = ReferenceMLP.from_manual(mlp)
    exported = module.to_manual()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(1)
    for name, value in before.items():
        np.testing.assert_array_equal(mlp.parameters[name], value)
        np.testing.assert_array_equal(exported[name], value)


def test_computes_the_same_logits(rng):
    mlp = MLP(
        {name: rng.integers(-3, 4, value.shape) * 1.0 for name, value in MLP.xavier([4, 6, 5, 3]).parameters.items()}
    )
    x = rng.integers(-3, 4, (7, 4)) * 1.0
    with torch.no_grad():
        logits = ReferenceMLP.from_manual(mlp)(torch.from_numpy(x)).numpy()
    np.testing.assert_array_equal(logits, mlp(x))  # small integers: exact
