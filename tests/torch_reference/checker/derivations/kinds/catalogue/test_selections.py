"""The mistakes where entries are picked, each beside a loop that makes it."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from replays import drawn, local_of  # noqa: E402 (needs torch)
from torch.nn import functional as F  # noqa: E402, N812

from torch_reference.checker.derivations.kinds.catalogue import selections  # noqa: E402

INDICES = np.array([2, 0, 2, 2, 0])


def picking(name):
    """Return a step that picks rows of a table, and what is picked of it by number."""
    rows = torch.from_numpy(INDICES)
    table = drawn(4, 3)
    reference = {
        "embedding": lambda table: (F.embedding(rows, table) ** 2).sum(),
        "index": lambda table: (table[rows] ** 2).sum(),
        "index_select": lambda table: (table.index_select(0, rows) ** 2).sum(),
        "gather": lambda table: (table.gather(0, rows[:, None].expand(5, 3)) ** 2).sum(),
    }[name]
    return local_of(name, reference, table=table)


@pytest.mark.parametrize("name", ["embedding", "index", "index_select", "gather"])
def test_gradients_of_one_index_averaged_or_overwritten(name):
    local, grad = picking(name), drawn(5, 3, seed=1)
    added, last = torch.zeros(2, 4, 3, dtype=torch.float64)
    for row, index in enumerate(INDICES):
        added[index] += grad[row]
        last[index] = grad[row]
    counts = torch.tensor([2, 1, 3, 1])[:, None]  # an index that does not occur is not divided by zero
    place = next(k for k, operand in enumerate(local.operands) if operand.shape == (4, 3))
    torch.testing.assert_close(selections.averaged(local, grad, place), added / counts, rtol=1e-12, atol=1e-14)
    assert torch.equal(selections.overwritten(local, grad, place), last)


def windowed(x, kernel, stride, padding, grad):
    """Return the gradient of an average pool in which each window overwrites what others gave."""
    padded = torch.zeros(*x.shape[:2], x.shape[2] + 2 * padding, x.shape[3] + 2 * padding, dtype=x.dtype)
    for i in range(grad.shape[2]):
        for j in range(grad.shape[3]):
            window = padded[:, :, i * stride : i * stride + kernel, j * stride : j * stride + kernel]
            window[:] = grad[:, :, i : i + 1, j : j + 1] / kernel**2
    return padded[:, :, padding : padded.shape[2] - padding, padding : padded.shape[3] - padding]


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(2, 1, 0), (3, 2, 1), (2, 2, 0)])
def test_windows_that_overlap_overwritten(kernel, stride, padding):
    x = drawn(2, 3, 4, 5)
    local = local_of("avg_pool2d", lambda x: F.avg_pool2d(x, kernel, stride, padding).square().sum(), x=x)
    grad = drawn(*F.avg_pool2d(x, kernel, stride, padding).shape, seed=1)
    expected = windowed(x, kernel, stride, padding, grad)
    torch.testing.assert_close(selections.windows_overwritten(local, grad, 0), expected, rtol=1e-12, atol=1e-14)


def test_windows_of_a_convolution_overwritten():
    x, w = drawn(2, 3, 4, 4), drawn(5, 3, 2, 2, seed=1)
    local = local_of("convolution", lambda x, w: F.conv2d(x, w).square().sum(), x=x, w=w)
    grad = drawn(2, 5, 3, 3, seed=2)
    expected = torch.zeros_like(x)
    for i in range(3):
        for j in range(3):
            expected[:, :, i : i + 2, j : j + 2] = torch.einsum("no,ochw->nchw", grad[:, :, i, j], w)
    torch.testing.assert_close(selections.windows_overwritten(local, grad, 0), expected, rtol=1e-12, atol=1e-14)
    assert selections.windows_overwritten(local, grad, 1) is None


def test_windows_times_entries_that_would_take_too_long_are_not_tried(monkeypatch):
    x = drawn(1, 1, 1, 2**11 + 1)
    local = local_of("avg_pool2d", lambda x: F.avg_pool2d(x, 1).sum(), x=x)
    assert selections.windows_overwritten(local, x, 0) is None
    x = drawn(2, 3, 4, 5)
    local = local_of("avg_pool2d", lambda x: F.avg_pool2d(x, 1).sum(), x=x)
    for affordable, tried in ((20 * 120, True), (20 * 120 - 1, False)):
        monkeypatch.setattr(selections, "AFFORDABLE", affordable)
        assert (selections.windows_overwritten(local, x, 0) is not None) == tried


MASK = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 1.0]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("name", "reference", "fits"),
    [
        ("mul", lambda x: ((x * MASK) ** 2).sum(), True),
        ("mul", lambda x: ((x * MASK * 2) ** 2).sum(), False),
        ("mul", lambda x: ((x * (1 + MASK)) ** 2).sum(), False),
        ("where", lambda x: (torch.where(MASK > 0, x, 0.0) ** 2).sum(), True),
        ("masked_fill", lambda x: (x.masked_fill(MASK == 0, 1.0) ** 2).sum(), True),
        ("relu", lambda x: (torch.relu(x) ** 2).sum(), False),
        ("tanh", lambda x: (torch.tanh(x) ** 2).sum(), False),
    ],
)
def test_a_mask_reversed(name, reference, fits):
    local, grad = local_of(name, reference, x=drawn(2, 3)), drawn(2, 3, seed=1)
    found = selections.mask_reversed(local, grad, 0)
    assert torch.equal(found, grad * (1 - MASK)) if fits else found is None


def test_a_mask_of_another_shape_is_not_reversed():
    local = local_of("mul", lambda x: ((x * MASK) ** 2).sum(), x=drawn(3))
    assert selections.mask_reversed(local, drawn(2, 3), 0) is None


@pytest.mark.parametrize(
    ("name", "reduce", "sizes"),
    [
        ("amax", lambda x: x.amax(1), 3),
        ("amax", lambda x: x.amax(1, keepdim=True), 3),
        ("amin", lambda x: x.amin((0, 2)), 8),
        ("amax", lambda x: x.amax(()), 24),
        ("max", lambda x: x.max(), 24),
        ("max", lambda x: x.max(0).values, 2),
        ("min", lambda x: x.min(2, keepdim=True).values, 4),
    ],
)
def test_the_gradient_of_a_maximum_shared_and_copied(name, reduce, sizes):
    x = drawn(2, 3, 4)
    local = local_of(name, lambda x: (reduce(x) ** 2).sum(), x=x)
    grad = drawn(*reduce(x).shape, seed=1)
    leaf = torch.zeros_like(x, requires_grad=True)
    spread = {8: leaf.sum((0, 2)), 24: leaf.sum(), 2: leaf.sum(0), 4: leaf.sum(2, keepdim=True)}.get(sizes)
    spread = leaf.sum(1, keepdim=grad.dim() == 3) if spread is None else spread
    (whole,) = torch.autograd.grad(spread, leaf, grad)
    torch.testing.assert_close(selections.shared_evenly(local, grad, 0), whole / sizes, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(selections.copied(local, grad, 0), whole, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("args", "size"),
    [((2,), 4), (([2],), 4), (([2, 3],), 6), ((2, 1), 4), ((3, 2, 1), 9), (([3, 2], [1, 2], [1, 0]), 6)],
)
def test_the_gradient_of_a_pool_shared_and_copied(args, size):
    x = drawn(2, 3, 5, 6)
    local = local_of("max_pool2d_with_indices", lambda x: (F.max_pool2d(x, *args) ** 2).sum(), x=x)
    leaf = torch.zeros_like(x, requires_grad=True)
    mean = F.avg_pool2d(leaf, *args)
    grad = drawn(*mean.shape, seed=1)
    (shared,) = torch.autograd.grad(mean, leaf, grad)
    torch.testing.assert_close(selections.shared_evenly(local, grad, 0), shared, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(selections.copied(local, grad, 0), shared * size, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", ["huber_loss", "smooth_l1_loss"])
@pytest.mark.parametrize(("reduction", "count"), [("mean", 12), ("none", 1)])
def test_a_robust_loss_without_its_bound(name, reduction, count):
    x, t = 3 * drawn(3, 4), drawn(3, 4, seed=1)
    loss = getattr(F, name)
    local = local_of(name, lambda x, t: (loss(x, t, reduction=reduction) ** 2).sum(), x=x, t=t)
    grad = drawn(*loss(x, t, reduction=reduction).shape, seed=2)
    for k, sign in ((0, 1), (1, -1)):
        for mistake, rest in ((selections.clipped, x - t), (selections.signs_alone, (x - t).sign())):
            torch.testing.assert_close(mistake(local, grad, k), sign * grad * rest / count, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize(
    ("name", "add"),
    [
        ("index_add", lambda base, x: base.index_add(0, torch.from_numpy(INDICES), x)),
        ("scatter_add", lambda base, x: base.scatter_add(0, torch.from_numpy(INDICES)[:, None].expand(5, 3), x)),
        ("index_put", lambda base, x: base.index_put((torch.from_numpy(INDICES),), x, accumulate=True)),
    ],
)
def test_what_is_added_up_gets_a_share_of_the_gradient(name, add):
    local = local_of(name, lambda base, x: (add(base, x) ** 2).sum(), base=drawn(4, 3), x=drawn(5, 3))
    grad = drawn(4, 3, seed=1)
    counts = torch.tensor([3, 2, 3, 3, 2])[:, None]
    torch.testing.assert_close(selections.divided(local, grad, 1), grad[INDICES] / counts)
    assert torch.equal(selections.divided(local, grad, 0), grad)


@pytest.mark.parametrize(
    ("name", "reduce", "axes", "keepdim"),
    [
        ("amax", lambda x: x.amax(1), (1,), False),
        ("amin", lambda x: x.amin(1, keepdim=True), (1,), True),
        ("amax", lambda x: x.amax((2, 0)), (2, 0), False),
        ("max", lambda x: x.max(-1).values, (2,), False),
        ("min", lambda x: x.min(), (0, 1, 2), False),
    ],
)
def test_entries_that_tie_each_get_the_whole_gradient(name, reduce, axes, keepdim):
    x = drawn(2, 3, 4).round().clamp(-1, 1)
    local = local_of(name, lambda x: (reduce(x) ** 2).sum(), x=x)
    grad = drawn(*reduce(x).shape, seed=1)
    largest = (x.amin if "min" in name else x.amax)(axes, keepdim=True)
    spread = grad if keepdim else grad.reshape(largest.shape)
    assert torch.equal(selections.whole_at_ties(local, grad, 0), spread * (x == largest))
    assert (x == largest).sum() > largest.numel()


@pytest.mark.parametrize("name", ["maximum", "minimum", "fmax", "fmin"])
def test_rivals_that_tie_each_get_the_whole_gradient(name):
    x, y, grad = drawn(3, 4).round(), drawn(4, seed=1).round(), drawn(3, 4, seed=2)
    local = local_of(name, lambda x, y: getattr(torch, name)(x, y).square().sum(), x=x, y=y)
    wins = [x >= y, y >= x] if "max" in name else [x <= y, y <= x]
    assert torch.equal(selections.whole_at_ties(local, grad, 0), grad * wins[0])
    assert torch.equal(selections.whole_at_ties(local, grad, 1), (grad * wins[1]).sum(0))
    assert (x == y).any()


def test_where_nothing_is_picked_no_mistake_is_tried():
    local = local_of("tanh", lambda x: torch.tanh(x).sum(), x=drawn(2, 3))
    gathering = "averaged", "divided", "overwritten", "windows_overwritten", "mask_reversed"
    for name in (*gathering, "shared_evenly", "copied", "whole_at_ties"):
        assert getattr(selections, name)(local, drawn(2, 3), 0) is None
    assert selections.clipped(local, drawn(2, 3), 0) is None
    assert selections.signs_alone(local, drawn(2, 3), 0) is None
