"""The same GPT in PyTorch, with PyTorch's own layers and gradients."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional


class Shape(Protocol):
    """What is needed of the sizes and options of a hand-derived GPT."""

    @property
    def vocabulary(self) -> int: ...  # noqa: D102
    @property
    def layers(self) -> int: ...  # noqa: D102
    @property
    def heads(self) -> int: ...  # noqa: D102
    @property
    def key_heads(self) -> int: ...  # noqa: D102
    @property
    def head_width(self) -> int: ...  # noqa: D102
    @property
    def width(self) -> int: ...  # noqa: D102
    @property
    def hidden(self) -> int: ...  # noqa: D102
    @property
    def context(self) -> int: ...  # noqa: D102
    @property
    def rms_norm(self) -> bool: ...  # noqa: D102
    @property
    def rotary(self) -> bool: ...  # noqa: D102
    @property
    def swiglu(self) -> bool: ...  # noqa: D102


class ManualGPT(Protocol):
    """What is needed of a hand-derived GPT: its shape and its parameters, weights of linear layers as (in, out)."""

    @property
    def shape(self) -> Shape: ...  # noqa: D102
    @property
    def parameters(self) -> Mapping[str, NDArray[np.floating]]: ...  # noqa: D102


class ReferenceGPT(nn.Module):
    """Embeddings, blocks of causal attention and an MLP, and logits from the embedding's own weights; no biases.

    Parameters
    ----------
    shape : sizes and options
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.token_embedding = nn.Embedding(shape.vocabulary, shape.width)
        if not shape.rotary:
            self.position_embedding = nn.Embedding(shape.context, shape.width)
        self.blocks = nn.ModuleList(_Block(shape) for _ in range(shape.layers))
        self.norm = _norm(shape)

    def forward(self, tokens: Tensor) -> Tensor:
        """Return the logits (N, T, V) of tokens (N, T)."""
        x = self.token_embedding(tokens)
        if not self.shape.rotary:
            x = x + self.position_embedding.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        return functional.linear(self.norm(x), self.token_embedding.weight)

    @classmethod
    def from_manual(cls, manual: ManualGPT) -> "ReferenceGPT":
        """Return a network with the shape, the weights and the precision of a hand-derived one."""
        module = cls(manual.shape)
        transposed = module.transposed()
        state = {
            name: torch.from_numpy(np.array(value.T if name in transposed else value, order="C"))
            for name, value in manual.parameters.items()
        }
        module.to(next(iter(state.values())).dtype).load_state_dict(state)
        return module

    def to_manual(self) -> dict[str, NDArray[np.floating]]:
        """Return copies of the parameters as NumPy arrays, in the orientation that `GPT` takes."""
        transposed = self.transposed()
        arrays = {name: value.detach().cpu().numpy() for name, value in self.named_parameters()}
        return {name: np.array(value.T if name in transposed else value, order="C") for name, value in arrays.items()}

    def transposed(self) -> set[str]:
        """Return the names of the parameters that the hand-derived side keeps as (in, out)."""
        return {f"{name}.weight" for name, module in self.named_modules() if isinstance(module, nn.Linear)}


class _Block(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.attention_norm = _norm(shape)
        self.attention = _Attention(shape)
        self.mlp_norm = _norm(shape)
        self.mlp = _SwiGLU(shape) if shape.swiglu else _MLP(shape)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x))
        return x + self.mlp(self.mlp_norm(x))


class _Attention(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.rotary, self.head_width = shape.rotary, shape.head_width
        self.widths = [shape.width, *[shape.key_heads * shape.head_width] * 2]
        self.query_key_value = nn.Linear(shape.width, sum(self.widths), bias=False)
        self.output = nn.Linear(shape.width, shape.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = (
            part.unflatten(-1, (-1, self.head_width)).transpose(1, 2)
            for part in self.query_key_value(x).split(self.widths, dim=-1)
        )
        if self.rotary:
            query, key = _rotated(query), _rotated(key)
        grouped = self.widths[0] != self.widths[1]
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=grouped)
        return self.output(mixed.transpose(1, 2).flatten(2))


class _MLP(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.up = nn.Linear(shape.width, shape.hidden, bias=False)
        self.down = nn.Linear(shape.hidden, shape.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(functional.gelu(self.up(x), approximate="tanh"))


class _SwiGLU(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.gate = nn.Linear(shape.width, shape.hidden, bias=False)
        self.up = nn.Linear(shape.width, shape.hidden, bias=False)
        self.down = nn.Linear(shape.hidden, shape.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(functional.silu(self.gate(x)) * self.up(x))


def _norm(shape: Shape) -> nn.Module:
    return nn.RMSNorm(shape.width, eps=1e-6) if shape.rms_norm else nn.LayerNorm(shape.width, bias=False)


def _rotated(x: Tensor) -> Tensor:
    """Multiply the pairs (i, i + D/2) of (..., T, D), as complex numbers, by exp(i · position · 10000^(-2i/D))."""
    length, width = x.shape[-2:]
    frequencies = 10000.0 ** (-torch.arange(0, width, 2, dtype=torch.float64, device=x.device) / width)
    angles = torch.outer(torch.arange(length, dtype=torch.float64, device=x.device), frequencies)
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)
