"""An axis that blocks do not divide: what of it counts in a matrix product, what counts too much in softmax."""

import pytest

torch = pytest.importorskip("torch")
from replays import drawn, replayed  # noqa: E402 (needs torch)

from torch_reference.checker.derivations.kinds.blocks import _parts, beyond, other_blocks  # noqa: E402
from torch_reference.checker.derivations.site import sites  # noqa: E402

X, W = drawn(3, 5), drawn(5, 6, seed=1)


def offered(replay, name):
    (site,) = [site for site in sites(replay, replay.wanted) if site.step.name == name]
    return {change.words: change for change in other_blocks(replay, site)}


def gradients(loss, *arrays):
    leaves = [array.clone().requires_grad_() for array in arrays]
    return torch.autograd.grad(loss(*leaves), leaves)


def test_the_parts_of_an_axis():
    assert {words: part for words, part in _parts(5).items() if part[1] > 1} == {
        "the first 4": (0, 4), "the first 2": (0, 2),
    }  # fmt: skip
    assert _parts(10)["the last 2"] == (8, 2)
    assert _parts(8)["the last 4"] == (4, 4)
    assert _parts(1) == {}


def test_how_much_lies_beyond_the_end():
    assert beyond(5) == [1, 3]
    assert beyond(13) == [1, 3]
    assert beyond(8) == []


def test_a_product_of_a_part():
    def short(x, w):
        return (x[:, :4] @ w[:4]).exp().sum()

    replay = replayed(lambda x, w: (x @ w).exp().sum(), x=X, w=W)
    found = replay.gradients(
        offered(replay, "mm")["of the 5 products that it adds up only the first 4 count"].rules(0.0)
    )
    for name, right in zip("xw", gradients(short, X, W), strict=True):
        torch.testing.assert_close(found[name], right)


@pytest.mark.parametrize(("operand", "size", "part"), [("first", 6, slice(4, 6)), ("second", 3, slice(2, 3))])
def test_a_gradient_of_a_part(operand, size, part):
    replay = replayed(lambda x, w: (x @ w).exp().sum(), x=X, w=W)
    number = part.stop - part.start
    words = f"of the {size} products that its derivative adds up only the last {number} count for its {operand} operand"
    found, grad = replay.gradients(offered(replay, "mm")[words].rules(0.0)), (X @ W).exp()
    first, second = operand == "first", operand == "second"
    torch.testing.assert_close(found["x"], grad[:, part] @ W[:, part].mT if first else grad @ W.mT)
    torch.testing.assert_close(found["w"], X[part].mT @ grad[part] if second else X.mT @ grad)


def test_a_product_and_its_gradients_in_whole_blocks():
    replay = replayed(lambda x, w: (x @ w).exp().sum(), x=X, w=W)
    words = "of the products that it adds up, forward and backward, what no whole block of 2 holds is left out"
    found, grad = replay.gradients(offered(replay, "mm")[words].rules(0.0)), (X[:, :4] @ W[:4]).exp()
    torch.testing.assert_close(found["x"], grad @ W.mT)
    torch.testing.assert_close(found["w"], X[:2].mT @ grad[:2])


def test_softmax_of_an_axis_that_goes_on_with_zeros():
    def padded(x):
        wide = torch.cat([x, torch.zeros(3, 3, dtype=x.dtype)], 1)
        return (torch.softmax(wide, 1)[:, :5] * W.mT[:3]).sum()

    replay = replayed(lambda x: (torch.softmax(x, 1) * W.mT[:3]).sum(), x=X)
    words = "counts 3 entries of 0 beyond the end of its axis: they are not masked"
    found = replay.gradients(offered(replay, "_softmax")[words].rules(0.0))["x"]
    torch.testing.assert_close(found, gradients(padded, X)[0])


def test_what_one_block_sends_to_others():
    values = drawn(5, 4, seed=2)
    replay = replayed(lambda x, w, y: ((x @ w) @ y).exp().sum(), x=drawn(5, 3), w=drawn(3, 5, seed=1), y=values)
    first, second = [site for site in sites(replay, replay.wanted) if site.step.name == "mm"][::-1]
    near = (torch.arange(5)[:, None] // 2 == torch.arange(5) // 2).double()
    words = "its derivative sees only blocks of 2 on the diagonal of what is square for its second operand"
    for site, expected in ((first, ["w"]), (second, ["y"])):
        change = next(change for change in other_blocks(replay, site) if change.words.startswith(words))
        found = replay.gradients(change.rules(0.0))
        assert [name for name in found if not torch.equal(found[name], replay.base[name])] == expected
    x, w = drawn(5, 3), drawn(3, 5, seed=1)
    grad = ((x @ w) @ values).exp()
    torch.testing.assert_close(found["y"], ((x @ w) * near).mT @ grad)
