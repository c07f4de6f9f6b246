"""The GPT against its twin in PyTorch: logits, loss, and the gradient of every parameter, with and without options."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from manual_backprop.networks import GPT, GPTShape
from manual_backprop.storage.weights import save_weights

torch = pytest.importorskip("torch")
from safetensors.torch import load_file  # noqa: E402 (needs torch)
from torch.nn.functional import cross_entropy  # noqa: E402 (needs torch)

from torch_reference import assert_gradients_match  # noqa: E402
from torch_reference.networks import ReferenceGPT  # noqa: E402

OPTIONS = st.fixed_dictionaries({name: st.booleans() for name in ("rms_norm", "rotary", "swiglu", "grouped")})
DTYPES = st.sampled_from([np.float32, np.float64])
PLAIN = {"rms_norm": False, "rotary": False, "swiglu": False, "grouped": False}
TINY = {"vocabulary": 7, "heads": 4, "width": 16, "context": 6}


def draw(seed, dtype, rms_norm, rotary, swiglu, grouped, layers=2, count=3, length=6):
    """Return a GPT whose weights are all drawn, those of its norms too, with tokens and targets."""
    rng = np.random.default_rng(seed)
    groups = 2 if grouped else None
    shape = GPTShape(layers=layers, groups=groups, rms_norm=rms_norm, rotary=rotary, swiglu=swiglu, **TINY)
    parameters = {
        name: (rng.normal(0, 0.3, size) + (len(size) == 1)).astype(dtype)
        for name, size in shape.parameter_shapes().items()
    }
    tokens, targets = rng.integers(0, shape.vocabulary, (2, count, length))
    return GPT(shape, parameters), tokens, targets


@settings(max_examples=6)
@given(st.integers(0, 2**32), DTYPES, OPTIONS, st.integers(1, 3), st.integers(1, 6))
@example(0, np.float32, PLAIN, 3, 6)
@example(1, np.float64, PLAIN, 3, 6)
@example(2, np.float64, dict.fromkeys(PLAIN, True), 2, 5)
@example(3, np.float32, PLAIN, 1, 1)
def test_gradients_are_autograds(seed, dtype, options, count, length):
    gpt, tokens, targets = draw(seed, dtype, **options, count=count, length=length)
    module = ReferenceGPT.from_manual(gpt)
    transposed = module.transposed()

    def manual(**parameters):
        return GPT(gpt.shape, parameters).backprop(tokens, targets)[1]

    def reference(**tensors):
        state = {name: value.T if name in transposed else value for name, value in tensors.items()}
        logits = torch.func.functional_call(module, state, torch.from_numpy(tokens))
        return cross_entropy(logits.flatten(0, 1), torch.from_numpy(targets).flatten())

    assert_gradients_match(manual, reference, gpt.parameters)


@settings(max_examples=25)
@given(st.integers(0, 2**32), DTYPES, OPTIONS, st.integers(1, 3), st.integers(1, 6))
def test_logits_and_loss_are_the_twins(seed, dtype, options, count, length):
    gpt, tokens, targets = draw(seed, dtype, **options, count=count, length=length)
    logits = gpt(tokens)
    expected = ReferenceGPT.from_manual(gpt).double()(torch.from_numpy(tokens))
    assert logits.dtype == dtype
    # two blocks, of some ten layers each, every one a sum of up to 64 products of numbers near 1
    tolerance = 2000 * float(np.finfo(dtype).eps)
    np.testing.assert_allclose(logits, expected.detach().numpy(), rtol=tolerance, atol=tolerance)
    loss, _ = gpt.backprop(tokens, targets)
    expected_loss = cross_entropy(expected.flatten(0, 1), torch.from_numpy(targets).flatten()).item()
    assert loss == pytest.approx(expected_loss, rel=tolerance, abs=tolerance)


@settings(max_examples=10)
@given(st.integers(0, 2**32), DTYPES, OPTIONS)
def test_weights_come_back_from_the_twin_as_they_went(seed, dtype, options):
    gpt, _, _ = draw(seed, dtype, **options)
    module = ReferenceGPT.from_manual(gpt)
    assert list(module.state_dict()) != []
    assert set(module.state_dict()) == set(gpt.parameters)
    back = module.to_manual()
    assert back.keys() == gpt.parameters.keys()
    for name, value in gpt.parameters.items():
        np.testing.assert_array_equal(back[name], value)
        assert back[name].dtype == dtype


@pytest.mark.parametrize("options", [PLAIN, dict.fromkeys(PLAIN, True)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_saved_network_comes_back_exactly(tmp_path, dtype, options):
    gpt, _, _ = draw(0, dtype, **options)
    gpt.save(str(tmp_path / "gpt.safetensors"))
    loaded = GPT.load(tmp_path / "gpt.safetensors")
    assert loaded.shape == gpt.shape
    assert loaded.parameters.keys() == gpt.parameters.keys()
    for name, value in gpt.parameters.items():
        np.testing.assert_array_equal(loaded.parameters[name], value, strict=True)
    twin = ReferenceGPT(gpt.shape).to(torch.from_numpy(np.zeros(0, dtype)).dtype)
    twin.load_state_dict(load_file(tmp_path / "gpt.safetensors"))  # PyTorch's names and orientation
    for name, value in twin.to_manual().items():
        np.testing.assert_array_equal(value, gpt.parameters[name])


@pytest.mark.parametrize("text", ["", "[]", '{"vocabulary": "many"}', '{"vocabulary": 0}', '{"vocabulary": 8}'])
def test_a_file_of_no_such_network_is_refused(tmp_path, text):
    gpt, _, _ = draw(0, np.float32, **PLAIN)
    save_weights(tmp_path / "gpt.safetensors", gpt.parameters, gpt.is_linear, text)
    with pytest.raises(ValueError, match="not the parameters of such a network: "):
        GPT.load(tmp_path / "gpt.safetensors")


def test_tied_weights_get_the_gradients_of_both_ends():
    gpt, _, _ = draw(0, np.float64, **PLAIN)
    gradient = gpt.backprop(np.array([[0, 1]]), np.array([[2, 2]]))[1]["token_embedding.weight"]
    assert (gradient != 0).any(axis=1).all()  # from the output, every row has one
    table = gpt.parameters["token_embedding.weight"]
    direction = np.zeros_like(table)
    direction[0, 3] = 1  # a token that is read too
    losses = []
    for step in (1e-6, -1e-6):
        moved = gpt.parameters | {"token_embedding.weight": table + step * direction}
        losses.append(GPT(gpt.shape, moved).backprop(np.array([[0, 1]]), np.array([[2, 2]]))[0])
    # a central difference of losses near 1, rounded at 1e-16: 1e-10
    assert gradient[0, 3] == pytest.approx((losses[0] - losses[1]) / 2e-6, rel=1e-7, abs=1e-9)


def test_first_weights_are_gpt2s():
    gpt = GPT.initial(GPTShape(vocabulary=65), seed=1)
    for name, value in gpt.parameters.items():
        if value.ndim == 1:
            np.testing.assert_array_equal(value, 1)
        else:
            deviation = 0.02 / np.sqrt(8) if name.endswith(("output.weight", "down.weight")) else 0.02
            # five standard errors of an estimated deviation
            assert value.std() == pytest.approx(deviation, rel=5 / np.sqrt(2 * value.size))
    assert sum(value.size for value in gpt.parameters.values()) == 804_096  # nanoGPT prints 0.80M
    again = GPT.initial(GPTShape(vocabulary=65), seed=1, dtype=np.float64)
    for name, value in again.parameters.items():
        np.testing.assert_array_equal(value.astype(np.float32), gpt.parameters[name])


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"vocabulary": 0}, "vocabulary: expected a positive number, got 0"),
        ({"vocabulary": 5, "heads": 3}, "width: expected a multiple of 3 heads, got 128"),
        ({"vocabulary": 5, "groups": 3}, "groups: expected a divisor of 4 heads, got 3"),
        ({"vocabulary": 5, "rotary": True, "width": 12}, "rotary: expected an even width of a head, got 3"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(sizes, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        GPTShape(**sizes)


def test_parameters_that_do_not_fit_are_refused():
    gpt, _, _ = draw(0, np.float64, **PLAIN)
    without = {name: value for name, value in gpt.parameters.items() if name != "norm.weight"}
    with pytest.raises(ValueError, match=r"^parameters: missing or unknown: norm\.weight$"):
        GPT(gpt.shape, without)
    with pytest.raises(ValueError, match=r"^norm\.weight: expected \(16,\), got \(15,\)$"):
        GPT(gpt.shape, gpt.parameters | {"norm.weight": np.ones(15)})


@pytest.mark.parametrize("call", ["__call__", "backprop"])
@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (np.zeros(3, int), r"x: expected \(N, T\) tokens with T from 1 to 6, got \(3,\)"),
        (np.zeros((2, 7), int), r"x: expected \(N, T\) tokens with T from 1 to 6, got \(2, 7\)"),
        (np.full((2, 3), 7), r"indices: 7 is outside 0\.\.6, the rows of the table"),
    ],
)
def test_tokens_that_do_not_fit_are_refused(call, tokens, message):
    gpt, _, _ = draw(0, np.float64, **PLAIN)
    with pytest.raises(ValueError, match=f"^{message}$"):
        getattr(gpt, call)(*[tokens] * (1 + (call == "backprop")))
