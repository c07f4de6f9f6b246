"""The parts of the probes, each by itself: how tensors are laid, dealt out and derived, and when answers are alike."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch_reference.checker.functions.probes import layout, upstream  # noqa: E402 (needs torch)
from torch_reference.checker.functions.probes.calls import called, copied, forward, named, same  # noqa: E402
from torch_reference.checker.functions.probes.needed import needed  # noqa: E402
from torch_reference.checker.functions.probes.simpler import simplified  # noqa: E402
from torch_reference.checker.functions.probes.stress import stressed  # noqa: E402
from torch_reference.checker.functions.probes.trial import Trial, within  # noqa: E402

X = torch.arange(1.0, 7.0, dtype=torch.float64).reshape(2, 3)


def product(x, w):
    return x @ w


def trial(function=product, allowed=0.0, **inputs):
    inputs = inputs or {"x": X, "w": torch.ones(3, 4, dtype=torch.float64)}
    outputs = named(function(*inputs.values()))
    arriving = {name: torch.full_like(value, 3.0) for name, value in outputs.items()}
    answer = called(function, inputs, arriving, tuple(inputs), 0)
    sizes = {**{name: value.shape for name, value in inputs.items()}, **{k: v.shape for k, v in outputs.items()}}
    return Trial(function, inputs, arriving, tuple(inputs), 0, answer, lambda name: np.full(sizes[name], allowed))


class TestStress:
    def test_every_derived_point_of_a_matrix(self):
        found = dict(stressed({"x": X, "n": torch.tensor([5, 6]), "p": 0.5}))
        assert list(found) == [
            *("x all zeros", "the first row of x zeros", "ties in x", "large x"),
            *("sizes of 3 for 2", "sizes of 1 for 2", "sizes of 4 for 3", "sizes of 1 for 3", "sizes of 2 for 3"),
            *("another axis in front of x", "no first axis of x"),
        ]
        assert all(list(point) == ["x", "n", "p"] and point["p"] == 0.5 for point in found.values())
        expected = {
            "x all zeros": [[0, 0, 0], [0, 0, 0]],
            "the first row of x zeros": [[0, 0, 0], [4, 5, 6]],
            "ties in x": [[1, 1, 3], [1, 1, 3]],
            "large x": [[30, 60, 90], [120, 150, 180]],
            "sizes of 3 for 2": [[1, 2, 3], [4, 5, 6], [1, 2, 3]],
            "sizes of 1 for 2": [[1, 2, 3]],
            "sizes of 4 for 3": [[1, 2, 3, 1], [4, 5, 6, 4]],
            "another axis in front of x": [[[1, 2, 3], [4, 5, 6]], [[4, 5, 6], [1, 2, 3]]],
            "no first axis of x": [1, 2, 3],
        }
        for words, values in expected.items():
            assert found[words]["x"].tolist() == values, words
        assert found["sizes of 3 for 2"]["n"].tolist() == [5, 6, 5]

    def test_a_vector_keeps_its_axis_and_a_number_has_no_row(self):
        assert "no first axis of x" not in dict(stressed({"x": X[0]}))
        assert list(dict(stressed({"x": X[0, 0]}))) == ["x all zeros", "large x"]
        assert list(dict(stressed({"x": X[:0]}))) == ["sizes of 4 for 3", "sizes of 1 for 3", "sizes of 2 for 3"]

    def test_ties_are_halves(self):
        (ties,) = [
            point["x"] for words, point in stressed({"x": torch.tensor([0.1, 0.6, 0.8, -0.4])}) if "ties" in words
        ]
        assert ties.tolist() == [0.0, 0.0, 1.0, -0.5]


class TestLayouts:
    @pytest.mark.parametrize("lay", [*layout.LAYOUTS.values()], ids=[*layout.LAYOUTS])
    @pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 3, 4), (2, 3, 4, 5)])
    def test_entries_stay(self, lay, shape):
        tensor = torch.randn(shape, generator=torch.Generator().manual_seed(1))
        assert torch.equal(lay(tensor), tensor)

    def test_strides(self):
        cube = torch.zeros(2, 3, 4)
        assert layout.transposed(cube).stride() == (12, 1, 3)
        assert layout.outer_transposed(cube).stride() == (4, 8, 1)
        assert layout.sliced(cube).stride() == (30, 10, 1)
        assert layout.scattered(cube).stride() == (1, 8, 24)
        assert layout.transposed(cube[0, 0]).is_contiguous()
        assert layout.outer_transposed(cube[0]).is_contiguous()

    @pytest.mark.parametrize(
        ("dtype", "around"), [(torch.float32, None), (torch.int64, 2**63 - 1), (torch.bool, True), (torch.int8, 127)]
    )
    def test_what_surrounds_a_slice_would_be_seen(self, dtype, around):
        part = layout.sliced(torch.zeros(2, 3, dtype=dtype))
        wide = torch.empty(0, dtype=dtype).set_(part.untyped_storage(), 0, (2, 9), (9, 1))
        outside = torch.cat([wide[:, :3], wide[:, 6:]], 1)
        assert bool(outside.isnan().all() if around is None else (outside == around).all())

    def test_a_copy_lies_as_the_tensor_does(self):
        part = layout.scattered(X)
        copy = copied(part)
        assert (copy.stride(), copy.storage_offset()) == (part.stride(), part.storage_offset())
        assert torch.equal(copy, part)
        copy.zero_()
        assert torch.equal(part, X)


class TestUpstream:
    def test_rows_are_dealt_out_in_turn(self):
        given = {"y": torch.ones(5, 2), "flat": torch.ones(1, 4), "one": torch.tensor(1.0)}
        first, second = upstream._rows(given, 0, times=2), upstream._rows(given, 1)
        assert first["y"][:, 0].tolist() == [2, 0, 2, 0, 2]
        assert first["flat"].tolist() == [[2, 0, 2, 0]]
        assert (first["one"].item(), second["one"].item()) == (2, 0)
        assert all(torch.equal(first[name] / 2 + second[name], given[name]) for name in given)
        assert given["y"].eq(1).all()

    def test_each_way_of_not_following_is_named(self):
        class Wrong(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x, kind):
                ctx.kind = kind
                return x.clone()

            @staticmethod
            def backward(ctx, grad):
                ways = {"ignores": torch.ones_like(grad), "square": grad**2, "mixes": grad * (grad.flip(0) != 0)}
                return ways[ctx.kind], None

        words = {
            "ignores": "It ignores its upstream gradient",
            "square": "Twice the upstream gradient does not give twice the gradient",
            "mixes": "The rows of the upstream gradient do not act apart",
        }
        for kind, message in words.items():
            found = upstream.upstream(trial(lambda x, kind=kind: Wrong.apply(x, kind), 1e-12, x=X))
            assert found["x"].startswith(message), (kind, found)
        assert upstream.upstream(trial()) == {}


class TestTrial:
    def test_within(self):
        nan, inf = np.nan, np.inf
        assert within(np.array([1.0, nan, inf]), np.array([1.0, nan, inf]), None)
        assert not within(np.array([1.0]), np.array([1.5]), None)
        assert within(np.array([1.0, inf]), np.array([1.5, inf]), np.array([0.5, 0.0]))
        assert not within(np.array([1.0, 2.0]), np.array([1.5, 2.0]), np.array([0.4, 9.0]))
        assert not within(np.array([nan]), np.array([1.0]), np.array([9.0]))

    def test_none_counts_as_zero(self):
        at = trial()
        zero, one = torch.zeros(2, 3), torch.ones(2, 3)
        assert at.alike("x", None, None)
        assert at.alike("x", zero, None)
        assert at.alike("x", None, zero)
        assert not at.alike("x", one, None)
        assert not at.alike("x", None, one)
        assert not at.alike("x", one, torch.ones(3))

    def test_parts_add_up_to_the_plain_answer(self):
        at = trial()
        whole = at.answer.gradients["x"]
        assert at.adds_up("x", [whole / 4, None, 3 * whole / 4])
        assert not at.adds_up("x", [whole, whole * 1e-12])
        assert at.adds_up("x", [3 * whole], times=3)
        assert not at.adds_up("x", [whole], times=3)
        assert not at.adds_up("x", [None, None])
        assert not at.adds_up("x", [None])
        silent = trial(lambda x, w: x.clone())
        assert silent.answer.gradients["w"] is None
        assert silent.adds_up("w", [None, torch.zeros(3, 4)])
        assert silent.adds_up("w", [])
        assert not silent.adds_up("w", [torch.ones(3, 4)])

    def test_differing_names_outputs_and_gradients(self):
        at = trial()
        other = at.ask({**at.inputs, "w": 2 * at.inputs["w"]})
        assert at.differing(other) == ["output", "x"]
        assert at.differing(other, other) == []
        assert list(at.ask(wanted=["w"]).gradients) == ["w"]


class TestCalls:
    def test_what_is_written_into_is_named(self):
        def careless(x):
            x.detach().mul_(2)
            return x * 1

        def changed(function):
            return forward(function, {"x": X}, ("x",), 0).watched({"x": X}, {"output": torch.ones_like(X)}, 0).changed

        assert changed(careless) == ("x",)
        assert changed(lambda x: x * 1) == ()

    def test_outputs_have_names(self):
        assert list(named(X)) == ["output"]
        assert list(named((X, None, X))) == ["output.0", "output.2"]
        for returned, error in ((3, TypeError), ((X, 3), TypeError), ((None,), ValueError)):
            with pytest.raises(error):
                named(returned)

    def test_same_counts_nan_as_itself(self):
        nan = torch.tensor([1.0, float("nan")])
        assert same(nan, nan.clone())
        assert not same(nan, torch.tensor([1.0, 2.0]))
        assert not same(nan, nan[:1])

    def test_a_seed_repeats_a_call_and_leaves_the_generator(self):
        before = torch.get_rng_state()
        first, second, other = (forward(torch.nn.Dropout(0.5), {"x": X}, (), s).outputs["output"] for s in (3, 3, 4))
        assert torch.equal(first, second)
        assert not torch.equal(first, other)
        assert torch.equal(torch.get_rng_state(), before)

    def test_a_forward_pass_that_needs_no_gradient_has_none(self):
        answer = called(lambda x: x.detach() * 2, {"x": X}, {"output": torch.ones_like(X)}, ("x",), 0)
        assert answer.gradients == {"x": None}


def test_an_input_that_is_right_only_in_company_is_found():
    class Selfish(torch.autograd.Function):
        @staticmethod
        def forward(_, x, w):
            return x * w

        @staticmethod
        def backward(ctx, grad):
            both = all(ctx.needs_input_grad)
            return grad if both else None, (grad if both else 2 * grad)

    inputs = {"x": torch.ones(3), "w": torch.ones(3)}
    assert needed(trial(Selfish.apply, **inputs)) == {
        "x": "It is None if only x requires a gradient.",
        "w": "It is another one if only w requires a gradient.",
    }
    assert needed(trial(torch.mul, **inputs)) == {}


def test_simpler_points():
    inputs = {"x": X.T, "w": X}
    arriving = {"output.0": X, "output.1": X[0]}
    points = list(simplified(inputs, arriving))
    assert [code for _, code, _, _ in points] == [
        *("layout", "upstream", "upstream"),
        *(["ignored"] * 3 + ["alone"]) * 2,
        *("upstream", "upstream"),
    ]
    (words, _, straight, _), (_, _, _, first), (_, _, _, second), *ignored, (_, _, _, rows), (_, _, _, columns) = points
    assert [part["output.0"].tolist() for _, _, _, part in ignored] == [
        *([[1, 2, 3], [0, 0, 0]],) * 3,
        [[0, 0, 0], [4, 5, 6]],
        *([[1, 2, 0], [4, 5, 0]],) * 2,
        [[1, 0, 0], [4, 0, 0]],
        [[0, 0, 3], [0, 0, 6]],
    ]
    assert words.startswith("Wrong for these strides of x;")
    assert straight["x"].is_contiguous()
    assert torch.equal(straight["x"], X.T)
    assert (first["output.0"].any().item(), first["output.1"].any().item()) == (False, True)
    assert (second["output.0"].any().item(), second["output.1"].any().item()) == (True, False)
    assert rows["output.0"].tolist() == [[1, 2, 3], [1, 2, 3]]
    assert rows["output.1"].tolist() == [1, 1, 1]
    assert columns["output.0"].tolist() == [[1, 1, 1], [4, 4, 4]]
    assert columns["output.1"].tolist() == [1, 2, 3]
    assert len(list(simplified({"x": X}, {"output": torch.zeros([1] * 6)}))) == 4 * 5  # no more than four axes
