"""The fast form of a GPT against the textbook form: losses, gradients, steps, whatever the number of workers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manual_backprop import AdamW, clip_grad_norm
from manual_backprop.fast.gpt.sharing import Batch, SharedGPT
from manual_backprop.networks import GPT, GPTShape

DTYPES = st.sampled_from([np.float32, np.float64])


def draw(seed, dtype, layers, heads, width, context, count, scale=0.3):
    rng = np.random.default_rng(seed)
    shape = GPTShape(vocabulary=7, layers=layers, heads=heads, width=heads * width, context=context)
    parameters = {
        name: (rng.normal(0, scale, size) + (len(size) == 1)).astype(dtype)
        for name, size in shape.parameter_shapes().items()
    }
    return GPT(shape, parameters), Batch(*rng.integers(0, 7, (2, count, context)))


def assert_close(found, expected, dtype):
    """Both round each of some hundred sums once, in another order."""
    tolerance = 500 * np.finfo(dtype).eps * max(np.abs(value).max() for value in expected.values())
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, rtol=0, atol=tolerance)


@settings(max_examples=30)
@given(
    st.integers(0, 2**32), DTYPES, st.integers(1, 3), st.integers(1, 3), st.integers(4, 6), st.integers(1, 6),
    st.integers(1, 9), st.integers(1, 3),
)  # fmt: skip
def test_loss_and_gradients_are_the_textbooks(seed, dtype, layers, heads, width, context, count, workers):
    gpt, batch = draw(seed, dtype, layers, heads, width, context, count)
    fast = SharedGPT(gpt, AdamW(gpt.parameters), workers=workers)
    expected_loss, expected = gpt.backprop(*batch)
    for _ in range(2):  # nothing is left over from the call before
        loss, gradients = fast.backprop(batch)
        assert loss == pytest.approx(expected_loss, rel=100 * float(np.finfo(dtype).eps))
        assert_close(gradients, expected, dtype)
    assert fast.loss(batch) == pytest.approx(expected_loss, rel=100 * float(np.finfo(dtype).eps))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("sign", [1, -1])
def test_scores_beyond_the_range_of_exp_are_no_harm(dtype, sign):
    """Queries and keys of hundreds: with the sign of keys turned, a position's score with itself is far below 0."""
    gpt, batch = draw(3, dtype, 1, 2, 4, 5, 4)
    weight = gpt.parameters["blocks.0.attention.query_key_value.weight"]
    weight[:, 8:16] = sign * weight[:, :8]
    weight[:, :16] *= 10
    expected_loss, expected = gpt.backprop(*batch)
    loss, gradients = SharedGPT(gpt, AdamW(gpt.parameters)).backprop(batch)
    assert np.isfinite(loss)
    # scores of some hundred, of which exp passes a rounding on as so many roundings
    tolerance = 1e5 * float(np.finfo(dtype).eps)
    assert loss == pytest.approx(expected_loss, rel=tolerance)
    for name, value in expected.items():
        np.testing.assert_allclose(gradients[name], value, rtol=0, atol=tolerance * max(np.abs(value).max(), 1e-3))


def test_steps_are_those_of_the_textbook():
    gpt, _ = draw(0, np.float64, 2, 2, 4, 6, 5)
    rng = np.random.default_rng(1)
    batches = [Batch(*rng.integers(0, 7, (2, 5, 6))) for _ in range(12)]
    rates = [0.01 / (1 + number) for number in range(12)]
    decay = {name: 0.1 if value.ndim > 1 else 0.0 for name, value in gpt.parameters.items()}

    textbook = GPT(gpt.shape, {name: value.copy() for name, value in gpt.parameters.items()})
    optimizer = AdamW(textbook.parameters, betas=(0.9, 0.99), weight_decay=decay)
    expected, clipped = [], 0
    for batch, rate in zip(batches, rates, strict=True):
        loss, gradients = textbook.backprop(*batch)
        clipped += clip_grad_norm(gradients, 1.0) > 1
        optimizer.learning_rate = rate
        optimizer.step(gradients)
        expected.append(loss)
    assert 0 < clipped < 12  # both kinds of steps were made

    fast = SharedGPT(gpt, AdamW(gpt.parameters, betas=(0.9, 0.99), weight_decay=decay), max_norm=1.0, workers=2)
    losses = fast.train(batches[:5], rates[:5]) + fast.train(batches[5:], rates[5:])
    # twelve steps, each of which may move an entry by a rounding of its gradient
    np.testing.assert_allclose(losses, expected, rtol=1e-11)
    for name, value in textbook.parameters.items():
        np.testing.assert_allclose(gpt.parameters[name], value, rtol=0, atol=1e-10 * np.abs(value).max())


def test_two_workers_change_no_bit():
    outcomes = []
    for workers in (1, 2):
        gpt, _ = draw(0, np.float32, 2, 2, 4, 6, 5)
        rng = np.random.default_rng(1)
        batches = [Batch(*rng.integers(0, 7, (2, 7, 6))) for _ in range(4)]
        fast = SharedGPT(gpt, AdamW(gpt.parameters), workers=workers)
        losses = fast.train(batches, [0.01] * 4)
        outcomes.append((losses, fast.loss(batches[0]), [value.tobytes() for value in gpt.parameters.values()]))
    assert outcomes[0] == outcomes[1]


def test_an_error_ends_a_step_in_all_workers():
    gpt, batch = draw(0, np.float32, 1, 1, 2, 3, 4)
    fast = SharedGPT(gpt, AdamW(gpt.parameters), workers=2)
    wrong = Batch(batch.tokens, np.full_like(batch.targets, 99))
    with pytest.raises(IndexError):
        fast.train([wrong], [0.01])
    assert fast.train([batch], [0.01])[0] == pytest.approx(gpt.backprop(*batch)[0], rel=1)


@pytest.mark.parametrize("option", [{"rms_norm": True}, {"rotary": True}, {"swiglu": True}, {"groups": 2}])
def test_options_are_refused(option):
    gpt = GPT.initial(GPTShape(5, layers=1, width=16, **option))
    with pytest.raises(ValueError, match=r"^the fast form knows no rms_norm, rotary, swiglu or grouped heads; "):
        SharedGPT(gpt, AdamW(gpt.parameters))


def test_an_optimizer_of_other_arrays_is_refused():
    gpt, _ = draw(0, np.float32, 1, 1, 2, 3, 4)
    with pytest.raises(
        ValueError, match=r"^optimizer: expected one of gpt\.parameters, which this one does not update$"
    ):
        SharedGPT(gpt, AdamW(dict(gpt.parameters)))
