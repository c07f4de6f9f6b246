"""A GPT: embeddings, blocks of causal attention and an MLP, and logits from the embedding's own weights."""

from collections.abc import Mapping
from typing import NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from manual_backprop.arrays import Array
from manual_backprop.layers import (
    cross_entropy,
    cross_entropy_backward,
    embedding,
    embedding_backward,
    gelu,
    gelu_backward,
    layer_norm,
    layer_norm_backward,
    linear_backward,
    rms_norm,
    rms_norm_backward,
    rotary_embedding,
    rotary_embedding_backward,
    scaled_dot_product_attention,
    scaled_dot_product_attention_backward,
    silu,
    silu_backward,
)
from manual_backprop.networks.gpt_shape import GPTShape
from manual_backprop.networks.network import Network


class _Block(NamedTuple):
    """What the backward pass needs of a block: what went into each of its layers. Rows are N · T tokens."""

    x: Array
    normed: Array
    query: Array  # (N, heads, T, D / heads), rotated where positions are
    key: Array  # (N, groups, T, D / heads), likewise
    value: Array
    mixed: Array
    middle: Array
    middle_normed: Array
    up: Array
    gate: Array | None


class GPT(Network):
    """A decoder of tokens: each position's logits tell which token may come next.

        x = token_embedding[tokens] + position_embedding[positions]
        x = x + attention(norm(x))          in every block
        x = x + mlp(norm(x))
        logits = norm(x) token_embeddingᵀ

    Parameters
    ----------
    shape : sizes and options
    parameters : mapping with the names and shapes of `shape.parameter_shapes()`; kept, not copied

    Raises
    ------
    ValueError
        If a parameter is missing, unknown or of another shape.
    """

    def __init__(self, shape: GPTShape, parameters: Mapping[str, Array]) -> None:
        self.shape = shape
        self.parameters, self.buffers = dict(parameters), {}
        shape.check(self.parameters)

    @classmethod
    def initial(cls, shape: GPTShape, seed: int = 0, dtype: DTypeLike = np.float32) -> "GPT":
        """Return a network with GPT-2's first weights; the same seed draws the same, up to rounding in every dtype."""
        return cls(shape, shape.initial_parameters(seed, dtype))

    @property
    def dtype(self) -> np.dtype[np.floating]:
        """The precision of the weights, in which the network computes."""
        return self.parameters["norm.weight"].dtype

    def __call__(self, x: ArrayLike) -> Array:
        """Return the logits.

        Parameters
        ----------
        x : (N, T), integers in 0..V-1; T is at most the context

        Returns
        -------
        (N, T, V)

        Raises
        ------
        ValueError
            If `x` has another shape or holds no such tokens.
        """
        tokens = self.shape.tokens(x)
        logits, _, _ = self._forward(tokens)
        return logits.reshape(*tokens.shape, -1)

    @staticmethod
    def is_linear(name: str) -> bool:
        """Return whether this parameter is the weight of a linear layer, (in, out) here and (out, in) in PyTorch."""
        return not name.endswith(("norm.weight", "embedding.weight"))

    def backprop(self, x: ArrayLike, targets: ArrayLike) -> tuple[float, dict[str, Array]]:
        """Return the mean loss over all tokens and its gradient for every parameter.

        The stream x runs through all blocks, and each branch reads it and adds to it: so the gradient of the stream
        runs back through all blocks, and each branch adds its own. docs/gpt.md tells which derivation serves which
        line.

        Parameters
        ----------
        x : (N, T), as in `__call__`
        targets : (N, T), the token that follows each

        Returns
        -------
        loss : float
        gradients : dict with the keys and shapes of `parameters`

        Raises
        ------
        ValueError
            If `x` or `targets` has a shape or a token that the network cannot take.
        """
        tokens, labels = self.shape.tokens(x), np.asarray(targets).ravel()
        logits, blocks, last = self._forward(tokens)
        loss = cross_entropy(logits, labels)

        gradients: dict[str, Array] = {}
        table = self.parameters["token_embedding.weight"]
        grad_logits = cross_entropy_backward(logits, labels)
        grad_normed: Array = grad_logits @ table
        grad_table = grad_logits.T @ self._norm(last, "norm")
        grad_x = self._norm_backward(grad_normed, last, "norm", gradients)
        for i in reversed(range(self.shape.layers)):
            block, name = blocks[i], f"blocks.{i}"
            grad_normed = self._mlp_backward(grad_x, block, f"{name}.mlp", gradients)
            grad_x = grad_x + self._norm_backward(grad_normed, block.middle, f"{name}.mlp_norm", gradients)
            grad_normed = self._attention_backward(grad_x, block, f"{name}.attention", gradients)
            grad_x = grad_x + self._norm_backward(grad_normed, block.x, f"{name}.attention_norm", gradients)
        gradients["token_embedding.weight"] = grad_table + embedding_backward(grad_x, tokens.ravel(), table)
        if not self.shape.rotary:
            positions = self.parameters["position_embedding.weight"]
            gradients["position_embedding.weight"] = embedding_backward(grad_x, self._positions(tokens), positions)
        return float(loss), {name: gradients[name] for name in self.parameters}

    def _mlp_backward(self, grad_output: Array, block: _Block, name: str, gradients: dict[str, Array]) -> Array:
        up, down = (self.parameters[f"{name}.{layer}.weight"] for layer in ("up", "down"))
        hidden = self._hidden(block.up, block.gate)
        grad_hidden, gradients[f"{name}.down.weight"], _ = linear_backward(grad_output, hidden, down)
        if block.gate is None:
            grad_up = gelu_backward(grad_hidden, block.up, "tanh")
            grad_normed, gradients[f"{name}.up.weight"], _ = linear_backward(grad_up, block.middle_normed, up)
            return grad_normed
        gate = self.parameters[f"{name}.gate.weight"]
        grad_up = grad_hidden * silu(block.gate)
        grad_gate = silu_backward(grad_hidden * block.up, block.gate)
        grad_from_up, gradients[f"{name}.up.weight"], _ = linear_backward(grad_up, block.middle_normed, up)
        grad_from_gate, gradients[f"{name}.gate.weight"], _ = linear_backward(grad_gate, block.middle_normed, gate)
        return grad_from_up + grad_from_gate

    def _attention_backward(self, grad_output: Array, block: _Block, name: str, gradients: dict[str, Array]) -> Array:
        output = self.parameters[f"{name}.output.weight"]
        grad_mixed, gradients[f"{name}.output.weight"], _ = linear_backward(grad_output, block.mixed, output)
        grad_query, grad_key, grad_value = scaled_dot_product_attention_backward(
            self._heads(grad_mixed, len(block.query)), block.query, block.key, block.value, causal=True
        )
        if self.shape.rotary:
            positions = np.arange(block.query.shape[2])
            grad_query = rotary_embedding_backward(grad_query, block.query, positions)
            grad_key = rotary_embedding_backward(grad_key, block.key, positions)
        grad_together = np.concatenate([_rows(grad) for grad in (grad_query, grad_key, grad_value)], axis=1)
        together = self.parameters[f"{name}.query_key_value.weight"]
        grad_normed, gradients[f"{name}.query_key_value.weight"], _ = linear_backward(
            grad_together, block.normed, together
        )
        return grad_normed

    def _norm_backward(self, grad_output: Array, x: Array, name: str, gradients: dict[str, Array]) -> Array:
        weight = self.parameters[f"{name}.weight"]
        if self.shape.rms_norm:
            grad_x, gradients[f"{name}.weight"] = rms_norm_backward(grad_output, x, weight)
        else:
            grad_x, gradients[f"{name}.weight"], _ = layer_norm_backward(grad_output, x, weight)
        return grad_x

    def _forward(self, tokens: NDArray[np.integer]) -> tuple[Array, list[_Block], Array]:
        """Return the logits (N · T, V), what each block kept, and what went into the last norm."""
        table = self.parameters["token_embedding.weight"]
        x = embedding(tokens.ravel(), table)
        if not self.shape.rotary:
            x = x + embedding(self._positions(tokens), self.parameters["position_embedding.weight"])
        blocks = []
        for i in range(self.shape.layers):
            block, x = self._block(x, len(tokens), f"blocks.{i}")
            blocks.append(block)
        return self._norm(x, "norm") @ table.T, blocks, x

    def _block(self, x: Array, count: int, name: str) -> tuple[_Block, Array]:
        normed = self._norm(x, f"{name}.attention_norm")
        together = normed @ self.parameters[f"{name}.attention.query_key_value.weight"]
        key_width = self.shape.key_heads * self.shape.head_width
        query, key, value = (
            self._heads(part, count)
            for part in np.split(together, [self.shape.width, self.shape.width + key_width], axis=1)
        )
        if self.shape.rotary:
            positions = np.arange(query.shape[2])
            query, key = rotary_embedding(query, positions), rotary_embedding(key, positions)
        mixed = _rows(scaled_dot_product_attention(query, key, value, causal=True))
        middle = x + mixed @ self.parameters[f"{name}.attention.output.weight"]

        middle_normed = self._norm(middle, f"{name}.mlp_norm")
        up = middle_normed @ self.parameters[f"{name}.mlp.up.weight"]
        gate = middle_normed @ self.parameters[f"{name}.mlp.gate.weight"] if self.shape.swiglu else None
        output = middle + self._hidden(up, gate) @ self.parameters[f"{name}.mlp.down.weight"]
        return _Block(x, normed, query, key, value, mixed, middle, middle_normed, up, gate), output

    def _norm(self, x: Array, name: str) -> Array:
        weight = self.parameters[f"{name}.weight"]
        return rms_norm(x, weight) if self.shape.rms_norm else layer_norm(x, weight, np.zeros_like(weight))

    @staticmethod
    def _hidden(up: Array, gate: Array | None) -> Array:
        return gelu(up, "tanh") if gate is None else up * silu(gate)

    def _heads(self, rows: Array, count: int) -> Array:
        """View rows (N · T, heads · D) as (N, heads, T, D)."""
        return rows.reshape(count, len(rows) // count, -1, self.shape.head_width).swapaxes(1, 2)

    def _metadata(self) -> str:
        return self.shape.to_json()

    @classmethod
    def _of(cls, state: dict[str, Array], metadata: str) -> Self:
        return cls(GPTShape.from_json(metadata), state)

    def _positions(self, tokens: NDArray[np.integer]) -> NDArray[np.integer]:
        return np.tile(np.arange(tokens.shape[1]), len(tokens))


def _rows(heads: Array) -> Array:
    """Lay (N, heads, T, D) out as rows (N · T, heads · D)."""
    count, _, length, _ = heads.shape
    return heads.swapaxes(1, 2).reshape(count * length, -1)
