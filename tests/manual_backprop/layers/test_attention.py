"""Attention against PyTorch's own, with and without mask, with grouped heads, of any lengths."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from manual_backprop.layers import scaled_dot_product_attention, scaled_dot_product_attention_backward

torch = pytest.importorskip("torch")
import torch.nn.functional as F  # noqa: E402, N812 (needs torch)

from torch_reference import assert_gradients_match  # noqa: E402

SIDES = st.integers(1, 4)
PROBLEMS = {
    "seed": st.integers(0, 2**32),
    "dtype": st.sampled_from([np.float32, np.float64]),
    "causal": st.booleans(),
    "count": SIDES,
    "groups": st.integers(1, 3),
    "heads_in_group": st.integers(1, 3),
    "queries": st.integers(1, 6),
    "keys": st.integers(1, 6),
    "widths": st.tuples(SIDES, SIDES),
    "scale": st.sampled_from([0, 1, 1, 30]),  # 30: one key gets nearly all the weight
}


def draw(seed, dtype, causal, count, groups, heads_in_group, queries, keys, widths, scale):
    rng = np.random.default_rng(seed)
    heads = groups * heads_in_group
    shapes = {
        "query": (count, heads, queries, widths[0]),
        "key": (count, groups, keys, widths[0]),
        "value": (count, groups, keys, widths[1]),
        "grad_output": (count, heads, queries, widths[1]),
    }
    inputs = {name: rng.normal(size=shape).astype(dtype) for name, shape in shapes.items()}
    inputs["query"] *= scale
    return inputs


def pytorchs(query, key, value, causal):
    return F.scaled_dot_product_attention(query, key, value, is_causal=causal, enable_gqa=True)


LONG = {"count": 1, "groups": 2, "heads_in_group": 2, "queries": 40, "keys": 40, "widths": (8, 8), "scale": 1}


@given(**PROBLEMS)
@example(seed=0, dtype=np.float32, causal=True, **LONG)
@example(seed=1, dtype=np.float64, causal=False, **LONG)
def test_gradients_are_autograds(causal, **problem):
    def manual(query, key, value, grad_output):
        gradients = scaled_dot_product_attention_backward(grad_output, query, key, value, causal)
        return dict(zip(("query", "key", "value"), gradients, strict=True))

    def reference(query, key, value, grad_output):
        return (pytorchs(query, key, value, causal) * grad_output).sum()

    assert_gradients_match(manual, reference, draw(causal=causal, **problem))


@given(**PROBLEMS)
def test_outputs_are_pytorchs(causal, **problem):
    inputs = draw(causal=causal, **problem)
    query, key, value = (torch.from_numpy(inputs[name]).double() for name in ("query", "key", "value"))
    output = scaled_dot_product_attention(inputs["query"], inputs["key"], inputs["value"], causal)
    # scores of up to 30 · 4 · 4 · 4 / 2 round by as many eps, and the exponential passes that on as a relative error
    tolerance = 2000 * np.finfo(problem["dtype"]).eps * np.abs(inputs["value"]).max()
    np.testing.assert_allclose(output, pytorchs(query, key, value, causal).numpy(), rtol=0, atol=tolerance)
    assert output.dtype == problem["dtype"]


def test_a_causal_position_does_not_see_later_ones(rng):
    query, key, value = rng.normal(size=(3, 2, 3, 5, 4))
    before = scaled_dot_product_attention(query, key, value, causal=True)
    key[:, :, 3:] += 1
    value[:, :, 3:] += 1
    after = scaled_dot_product_attention(query, key, value, causal=True)
    np.testing.assert_array_equal(before[:, :, :3], after[:, :, :3])
    assert (before[:, :, 3:] != after[:, :, 3:]).all()


def test_scores_beyond_the_range_of_exp_are_no_harm(rng):
    query, key, value = rng.normal(size=(3, 1, 1, 3, 2))
    output = scaled_dot_product_attention(1e6 * query, 1e6 * key, value)
    assert all(np.abs(value[0, 0] - row).sum(axis=1).min() == 0 for row in output[0, 0])  # one value each


@pytest.mark.parametrize(
    ("query", "key", "value", "message"),
    [
        ((3, 4), (3, 4), (3, 4), r"attention: expected \(N, heads, T, D\) each, got query \(3, 4\), .*"),
        ((1, 2, 3, 4), (1, 2, 3, 5), (1, 2, 3, 4), "attention: the shapes do not fit together: .*"),
        ((1, 2, 3, 4), (2, 2, 3, 4), (2, 2, 3, 4), "attention: the shapes do not fit together: .*"),
        ((1, 2, 3, 4), (1, 2, 3, 4), (1, 2, 4, 4), "attention: the shapes do not fit together: .*"),
        ((1, 3, 3, 4), (1, 2, 3, 4), (1, 2, 3, 4), "attention: 2 heads of key and value do not divide 3 of query"),
    ],
)
def test_what_does_not_fit_is_refused(query, key, value, message):
    arguments = [np.ones(shape) for shape in (query, key, value)]
    with pytest.raises(ValueError, match=f"^{message}$"):
        scaled_dot_product_attention(*arguments)
    with pytest.raises(ValueError, match=f"^{message}$"):
        scaled_dot_product_attention_backward(np.ones(query), *arguments)
