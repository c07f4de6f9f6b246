"""The fast forms, as the trainers call them for one worker's share, and the same layers of PyTorch in one row.

Where the fast form takes several layers together, so does the row: what one of them leaves is what the next one needs.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from benchmarks.layers.problems import HEADS, LOGITS, TOKENS
from torch.nn import functional

Step = Callable[[], Any]


class FastForm(NamedTuple):
    """Layers that are computed together, where, and what prepares a forward and backward pass of both sides."""

    layers: tuple[str, ...]
    file: str
    prepare: Callable[[np.random.Generator], tuple[Step, Step]]


def dense(rng: np.random.Generator) -> tuple[Step, Step]:
    """Carry a block of 1000 examples through the assignment's network and back."""
    from manual_backprop import MLP
    from manual_backprop.data.datasets import Split
    from manual_backprop.fast.in_place import InPlaceBackprop

    mlp = MLP.xavier([784, 1000, 10])
    mlp.dropout = 0.5
    block = InPlaceBackprop(mlp, 1000)
    images, keep = rng.random((1000, 784), np.float32), rng.random((1000, 1000)) < mlp.dropout
    labels = rng.integers(0, 10, 1000)
    split = Split(images, labels)

    def ours() -> None:
        _, kept = block.forward(split, slice(None), keep)
        block.backward(kept, 1000, block.gradients)

    parameters = [torch.from_numpy(value.copy()).requires_grad_() for value in mlp.parameters.values()]
    x, targets, kept_units = (torch.from_numpy(array) for array in (images, labels, keep))

    def theirs() -> None:
        weight1, bias1, weight2, bias2 = parameters
        hidden = torch.relu(torch.addmm(bias1, x, weight1)) * kept_units / 0.5
        loss = functional.cross_entropy(torch.addmm(bias2, hidden, weight2), targets)
        torch.autograd.grad(loss, parameters)

    return ours, theirs


def maps(rng: np.random.Generator) -> tuple[Step, Step]:
    """Carry a batch of 32 images through the layers of the `CNN` up to the hidden one and back."""
    from manual_backprop.data.datasets import Split
    from manual_backprop.fast.feature_maps import FeatureMaps
    from manual_backprop.fast.planes import Planes
    from manual_backprop.networks import CNN

    cnn = CNN.xavier()
    images = rng.random((32, 28, 28), np.float32)
    split = Split(images.reshape(32, -1), np.zeros(32, int))
    planes, feature_maps = Planes(28, 32, np.float32), FeatureMaps(cnn, slice(0, 32), 28, 32)
    upstream = rng.normal(size=(32 * feature_maps.windows, 32)).astype(np.float32)

    def ours() -> None:
        planes.load(0, split, slice(None))
        _, kept = feature_maps.forward(planes[0], training=True)
        feature_maps.backward(kept, upstream)

    kernel, *others = (
        torch.from_numpy(cnn.parameters[name].copy()).requires_grad_()
        for name in ("convolution.weight", "convolution.bias", "normalization.weight", "normalization.bias")
    )
    x = torch.from_numpy(images[:, None])
    grad_output = torch.from_numpy(upstream.reshape(32, 14, 14, 32).transpose(3, 0, 1, 2).copy())
    running = torch.zeros(32), torch.ones(32)

    def theirs() -> None:
        bias, weight, shift = others
        units = torch.relu(functional.conv2d(x, kernel, bias, padding=1))
        output = functional.max_pool2d(functional.batch_norm(units, *running, weight, shift, training=True), 2)
        torch.autograd.grad(output, [kernel, *others], grad_output)

    return ours, theirs


def cross_entropy(rng: np.random.Generator) -> tuple[Step, Step]:
    """Take the loss of 1000 examples and its gradient."""
    from manual_backprop.fast.cross_entropy_in_place import CrossEntropyInPlace

    logits, labels = rng.normal(size=LOGITS).astype(np.float32), rng.integers(0, LOGITS[1], LOGITS[0])
    in_place = CrossEntropyInPlace(*LOGITS, np.float32)
    x, targets = torch.from_numpy(logits).requires_grad_(), torch.from_numpy(labels)
    return (
        lambda: in_place.backward(in_place.forward(logits, labels)[1], LOGITS[0]),
        lambda: torch.autograd.grad(functional.cross_entropy(x, targets), [x]),
    )


def layer_norm(rng: np.random.Generator) -> tuple[Step, Step]:
    """Normalise the tokens of 12 sequences."""
    from manual_backprop.fast.gpt.layers import Norm, norm_backward, norm_forward

    rows, width = TOKENS[0] * TOKENS[1], TOKENS[2]
    x, upstream = (rng.normal(size=(rows, width)).astype(np.float32) for _ in range(2))
    weight, kept = np.ones(width, np.float32), Norm.make(rows, width, np.float32)
    grad_weight, grad_x, grad_output = np.empty_like(weight), np.empty_like(x), np.empty_like(x)

    def ours() -> None:
        norm_forward(x, weight, kept)
        grad_output[...] = upstream  # it is overwritten
        grad_x[...] = 0
        norm_backward(grad_output, weight, kept, grad_weight, grad_x)

    inputs = [torch.from_numpy(array.copy()).requires_grad_() for array in (x, weight)]
    incoming = torch.from_numpy(upstream)
    return ours, lambda: torch.autograd.grad(functional.layer_norm(inputs[0], [width], inputs[1]), inputs, incoming)


def gelu(rng: np.random.Generator) -> tuple[Step, Step]:
    """Apply gelu to the hidden units of 12 sequences."""
    from manual_backprop.fast.gpt.layers import STRIP, Gelu, gelu_forward

    shape = TOKENS[0] * TOKENS[1], 4 * TOKENS[2]
    x, upstream = (rng.normal(size=shape).astype(np.float32) for _ in range(2))
    kept, scratch = Gelu.make(*shape, np.float32), np.empty(STRIP, np.float32)
    units, grad_x = np.empty_like(x), np.empty_like(x)

    def ours() -> None:
        units[...] = x  # it is overwritten
        gelu_forward(units, kept, scratch)
        np.multiply(upstream, kept.slope, out=grad_x)

    inputs, incoming = torch.from_numpy(x).requires_grad_(), torch.from_numpy(upstream)
    return ours, lambda: torch.autograd.grad(functional.gelu(inputs, approximate="tanh"), [inputs], incoming)


def attention(rng: np.random.Generator) -> tuple[Step, Step]:
    """Let 12 sequences attend to themselves."""
    from manual_backprop.fast.gpt.attention import Attention, AttentionScratch, attention_backward, attention_forward

    count, heads, length, size = HEADS
    sizes = count, length, heads, heads * size, np.float32
    kept, grad, scratch = Attention.make(*sizes), Attention.make(*sizes), AttentionScratch.make(*sizes)
    kept.together[...] = rng.normal(size=kept.together.shape)
    grad.output[...] = rng.normal(size=grad.output.shape)
    mask = np.triu(np.full((length, length), -np.inf, np.float32), 1)

    def ours() -> None:
        attention_forward(kept, mask, scratch)
        attention_backward(kept, grad, scratch)

    inputs = [torch.from_numpy(array.copy()).requires_grad_() for array in (kept.query, kept.key, kept.value)]
    query, key, value = inputs
    incoming = torch.from_numpy(grad.mixed.copy())
    return ours, lambda: torch.autograd.grad(
        functional.scaled_dot_product_attention(query, key, value, is_causal=True), inputs, incoming
    )


FAST_FORMS = (
    FastForm(("linear", "relu", "dropout", "cross_entropy"), "in_place.py", dense),
    FastForm(("conv2d", "relu", "batch_norm", "max_pool2d"), "feature_maps.py", maps),
    FastForm(("cross_entropy",), "cross_entropy_in_place.py", cross_entropy),
    FastForm(("layer_norm",), "gpt/layers.py", layer_norm),
    FastForm(("gelu",), "gpt/layers.py", gelu),
    FastForm(("scaled_dot_product_attention",), "gpt/attention.py", attention),
)
