"""Embedding and rotary positions against PyTorch."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes

from manual_backprop.layers import embedding, embedding_backward, rotary_embedding, rotary_embedding_backward

torch = pytest.importorskip("torch")
import torch.nn.functional as F  # noqa: E402, N812 (needs torch)

from torch_reference import assert_gradients_match  # noqa: E402

SEEDS = st.integers(0, 2**32)
DTYPES = st.sampled_from([np.float32, np.float64])


def draw_tokens(seed, shape, rows, width, dtype):
    rng = np.random.default_rng(seed)
    return {
        "indices": rng.integers(0, rows, shape),
        "weight": rng.normal(size=(rows, width)).astype(dtype),
        "grad_output": rng.normal(size=(*shape, width)).astype(dtype),
    }


class TestEmbedding:
    @given(SEEDS, array_shapes(max_dims=3, max_side=6), st.integers(1, 9), st.integers(1, 5), DTYPES)
    def test_gradient_is_autograds(self, seed, shape, rows, width, dtype):
        def manual(indices, weight, grad_output):
            return {"weight": embedding_backward(grad_output, indices, weight)}

        def reference(indices, weight, grad_output):
            return (F.embedding(indices, weight) * grad_output).sum()

        assert_gradients_match(manual, reference, draw_tokens(seed, shape, rows, width, dtype))

    @given(SEEDS, array_shapes(max_dims=3, max_side=6), DTYPES)
    def test_outputs_are_pytorchs(self, seed, shape, dtype):
        inputs = draw_tokens(seed, shape, 7, 3, dtype)
        y = embedding(inputs["indices"], inputs["weight"])
        tensors = torch.from_numpy(inputs["indices"]), torch.from_numpy(inputs["weight"])
        np.testing.assert_array_equal(y, F.embedding(*tensors).numpy())
        assert y.dtype == dtype

    def test_a_row_gets_the_gradients_of_all_its_tokens(self):
        gradient = embedding_backward(np.array([[1.0], [2.0], [4.0]]), np.array([1, 1, 0]), np.zeros((3, 1)))
        np.testing.assert_array_equal(gradient, [[4], [3], [0]])

    def test_the_output_is_no_view_of_the_table(self):
        weight = np.zeros((3, 2))
        embedding(np.array(1), weight)[...] = 1
        np.testing.assert_array_equal(weight, 0)

    @pytest.mark.parametrize(
        ("indices", "message"),
        [
            (np.array([0, -1]), r"indices: -1 is outside 0\.\.2, the rows of the table"),
            (np.array([[0], [3]]), r"indices: 3 is outside 0\.\.2, the rows of the table"),
            (np.array([1.0]), "indices: expected integers, got float64"),
        ],
    )
    def test_what_is_not_in_the_table_is_refused(self, indices, message):
        with pytest.raises(ValueError, match=f"^{message}$"):
            embedding(indices, np.zeros((3, 2)))
        with pytest.raises(ValueError, match=f"^{message}$"):
            embedding_backward(np.zeros((*indices.shape, 2)), indices, np.zeros((3, 2)))


def draw_vectors(seed, shape, width, dtype):
    rng = np.random.default_rng(seed)
    x, grad_output = rng.normal(size=(2, *shape, width)).astype(dtype)
    return {"x": x, "grad_output": grad_output, "positions": rng.integers(0, 2000, shape[-1])}


def complex_rotation(x, positions, base):
    """Multiply each pair, as a complex number, by exp(i angle)."""
    half = x.shape[-1] // 2
    exponents = -torch.arange(half, dtype=torch.float64) / half
    angles = positions[:, None].double() * torch.exp(exponents * np.log(base))
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    turned = torch.complex(x[..., :half], x[..., half:]) * torch.complex(cos, sin)
    return torch.cat([turned.real, turned.imag], dim=-1)


class TestRotaryEmbedding:
    @given(SEEDS, array_shapes(max_dims=4, max_side=4), st.integers(1, 4), st.sampled_from([10000.0, 500.0]), DTYPES)
    def test_gradient_is_autograds(self, seed, shape, half, base, dtype):
        def manual(x, grad_output, positions):
            return {"x": rotary_embedding_backward(grad_output, x, positions, base)}

        def reference(x, grad_output, positions):
            half = x.shape[-1] // 2
            exponents = -torch.arange(half, dtype=torch.float64) / half
            angles = positions[:, None].double() * torch.exp(exponents * np.log(base))
            cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
            first, second = x.chunk(2, dim=-1)
            return (torch.cat([first * cos - second * sin, second * cos + first * sin], -1) * grad_output).sum()

        assert_gradients_match(manual, reference, draw_vectors(seed, shape, 2 * half, dtype))

    @given(SEEDS, array_shapes(max_dims=4, max_side=4), st.integers(1, 4), st.sampled_from([10000.0, 500.0]), DTYPES)
    def test_outputs_are_products_of_complex_numbers(self, seed, shape, half, base, dtype):
        inputs = draw_vectors(seed, shape, 2 * half, dtype)
        x, positions = torch.from_numpy(inputs["x"]), torch.from_numpy(inputs["positions"])
        y = rotary_embedding(inputs["x"], inputs["positions"], base)
        # an angle of up to 2000 rounds at 2000 eps of float64; products and their sum round three times
        tolerance = (8 * np.finfo(dtype).eps + 4000 * np.finfo(np.float64).eps) * np.abs(inputs["x"]).max()
        np.testing.assert_allclose(y, complex_rotation(x, positions, base).numpy(), rtol=0, atol=tolerance)
        assert y.dtype == dtype

    @given(SEEDS, st.integers(0, 500))
    def test_products_know_only_the_difference_of_positions(self, seed, shift):
        vectors = draw_vectors(seed, (2, 5), 8, np.float64)
        (query, key), positions = vectors["x"], vectors["positions"]

        def products(positions):
            return rotary_embedding(query, positions) @ rotary_embedding(key, positions).T

        # eight products of numbers below 6, after angles that round at 2500 eps
        np.testing.assert_allclose(products(positions), products(positions + shift), rtol=0, atol=1e-10)

    def test_backward_undoes_the_rotation(self, rng):
        x, positions = rng.normal(size=(3, 6)), np.array([0, 7, 100])
        back = rotary_embedding_backward(rotary_embedding(x, positions), x, positions)
        np.testing.assert_allclose(back, x, rtol=0, atol=1e-14)

    @pytest.mark.parametrize("dtype", [np.float32, np.float64])
    def test_a_far_position_is_as_exact_as_a_near_one(self, dtype):
        x = np.ones((1, 2), dtype)
        y = rotary_embedding(x, np.array([1_000_003]))
        exact = np.array([[np.cos(1_000_003) - np.sin(1_000_003), np.cos(1_000_003) + np.sin(1_000_003)]])
        np.testing.assert_allclose(y, exact, rtol=0, atol=2 * np.finfo(dtype).eps)

    @pytest.mark.parametrize(
        ("shape", "positions", "message"),
        [
            ((4, 3), 4, "x: expected an even width, whose halves are the pairs, got 3"),
            ((4, 2), 3, r"positions: expected one for each of 4 vectors, got shape \(3,\)"),
        ],
    )
    def test_what_does_not_fit_is_refused(self, shape, positions, message):
        x, positions = np.ones(shape), np.arange(positions)
        with pytest.raises(ValueError, match=f"^{message}$"):
            rotary_embedding(x, positions)
        with pytest.raises(ValueError, match=f"^{message}$"):
            rotary_embedding_backward(x, x, positions)
