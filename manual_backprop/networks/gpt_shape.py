"""What a GPT is made of: its sizes and options, the names and shapes of its parameters, and their first values."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from manual_backprop.arrays import Array


@dataclass(frozen=True)
class GPTShape:
    """Sizes and options of a GPT; by default those of nanoGPT's small setting for a CPU.

    Parameters
    ----------
    vocabulary : V, how many tokens there are
    layers : blocks of attention and MLP
    heads : heads of the query
    width : D, a multiple of `heads`
    context : T, the most tokens that the network sees at once
    groups : heads of key and value, which divide those of the query; by default as many
    rms_norm : divide by the root mean square instead of normalising mean and variance
    rotary : rotate queries and keys by their positions instead of adding a learned vector for each position
    swiglu : an MLP whose hidden units are products of two linear layers, silu applied to one, instead of gelu's

    Raises
    ------
    ValueError
        If a size is not positive or does not divide another as it must.
    """

    vocabulary: int
    layers: int = 4
    heads: int = 4
    width: int = 128
    context: int = 64
    groups: int | None = None
    rms_norm: bool = False
    rotary: bool = False
    swiglu: bool = False

    def __post_init__(self) -> None:
        for name in ("vocabulary", "layers", "heads", "width", "context", "key_heads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected a positive number, got {getattr(self, name)}")
        if self.width % self.heads:
            raise ValueError(f"width: expected a multiple of {self.heads} heads, got {self.width}")
        if self.heads % self.key_heads:
            raise ValueError(f"groups: expected a divisor of {self.heads} heads, got {self.key_heads}")
        if self.rotary and self.head_width % 2:
            raise ValueError(f"rotary: expected an even width of a head, got {self.head_width}")

    @property
    def key_heads(self) -> int:
        """Heads of key and value."""
        return self.heads if self.groups is None else self.groups

    @property
    def head_width(self) -> int:
        """Entries of one head's query, key or value."""
        return self.width // self.heads

    @property
    def hidden(self) -> int:
        """Hidden units of an MLP; SwiGLU's three matrices have as many entries together as gelu's two."""
        return 8 * self.width // 3 if self.swiglu else 4 * self.width

    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of each parameter; a linear layer's weight is (in, out), no layer has a bias."""
        heads_together = (self.heads + 2 * self.key_heads) * self.head_width
        shapes: dict[str, tuple[int, ...]] = {"token_embedding.weight": (self.vocabulary, self.width)}
        if not self.rotary:
            shapes["position_embedding.weight"] = (self.context, self.width)
        for i in range(self.layers):
            shapes |= {
                f"blocks.{i}.attention_norm.weight": (self.width,),
                f"blocks.{i}.attention.query_key_value.weight": (self.width, heads_together),
                f"blocks.{i}.attention.output.weight": (self.width, self.width),
                f"blocks.{i}.mlp_norm.weight": (self.width,),
                f"blocks.{i}.mlp.up.weight": (self.width, self.hidden),
                f"blocks.{i}.mlp.down.weight": (self.hidden, self.width),
            }
            if self.swiglu:
                shapes[f"blocks.{i}.mlp.gate.weight"] = (self.width, self.hidden)
        return shapes | {"norm.weight": (self.width,)}

    def check(self, parameters: Mapping[str, Array]) -> None:
        """Refuse parameters that are not those of such a network.

        Raises
        ------
        ValueError
            If one is missing, unknown or of another shape.
        """
        expected = self.parameter_shapes()
        if expected.keys() != parameters.keys():
            wrong = ", ".join(sorted(expected.keys() ^ parameters.keys()))
            raise ValueError(f"parameters: missing or unknown: {wrong}")
        for name, value in parameters.items():
            if value.shape != expected[name]:
                raise ValueError(f"{name}: expected {expected[name]}, got {value.shape}")

    def initial_parameters(self, seed: int, dtype: DTypeLike) -> dict[str, Array]:
        """Draw weights from a Gaussian of deviation 0.02, those that end a block's branch 1 / sqrt(2 layers) as large.

        The 2 layers branches are added up in one stream, which so keeps its size. Weights of norms are 1.

        Source: A. Radford et al., Language models are unsupervised multitask learners (GPT-2), 2019, and its code.
        """
        rng = np.random.default_rng(seed)
        parameters: dict[str, Array] = {}
        for name, shape in self.parameter_shapes().items():
            if len(shape) == 1:
                parameters[name] = np.ones(shape, dtype)
            else:
                ends_branch = name.endswith(("attention.output.weight", "mlp.down.weight"))
                deviation = 0.02 / np.sqrt(2 * self.layers) if ends_branch else 0.02
                parameters[name] = rng.normal(0, deviation, shape).astype(dtype)
        return parameters

    def tokens(self, x: ArrayLike) -> NDArray[np.integer]:
        """Return `x` as an array (N, T) of tokens.

        Raises
        ------
        ValueError
            If it has another shape, or more tokens in a row than the context.
        """
        tokens = np.asarray(x)
        if tokens.ndim != 2 or not 1 <= tokens.shape[1] <= self.context:
            raise ValueError(f"x: expected (N, T) tokens with T from 1 to {self.context}, got {tokens.shape}")
        return tokens

    def to_json(self) -> str:
        """Return all sizes and options as a text."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return the shape of which `to_json` gave this text.

        Raises
        ------
        ValueError
            If it is no such text.
        """
        try:
            return cls(**json.loads(text))
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"expected the sizes and options of a GPT, got {text[:80]!r}") from error
