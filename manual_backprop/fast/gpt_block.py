"""Forward and backward pass of a GPT over a block of sequences, step by step as in `GPT.backprop`."""

from collections.abc import Mapping

import numpy as np

from manual_backprop.arrays import Array
from manual_backprop.fast.gpt_layers import (
    STRIP,
    Attention,
    Gelu,
    Norm,
    Tokens,
    add_by_token,
    attention_backward,
    attention_forward,
    gelu_forward,
    norm_backward,
    norm_forward,
)
from manual_backprop.networks import GPT


class GPTBlock:
    """What is needed for `count` sequences of the network's whole context: arrays for each layer, made once.

    Parameters
    ----------
    gpt : the network, without options; its weights are read anew at every call
    count : how many sequences
    """

    def __init__(self, gpt: GPT, count: int) -> None:
        shape, dtype = gpt.shape, gpt.dtype
        rows, width, hidden = count * shape.context, shape.width, shape.hidden
        self._gpt, self._count = gpt, count
        layers = range(shape.layers)
        self._streams = np.empty((2 * shape.layers + 1, rows, width), dtype)  # before each branch, and at the end
        self._attention_norms = [Norm.make(rows, width, dtype) for _ in layers]
        self._attentions = [Attention.make(count, shape.context, shape.heads, width, dtype) for _ in layers]
        self._mlp_norms = [Norm.make(rows, width, dtype) for _ in layers]
        self._gelus = [Gelu.make(rows, hidden, dtype) for _ in layers]
        self._norm = Norm.make(rows, width, dtype)
        self._probabilities = np.empty((rows, shape.vocabulary), dtype)
        self._up = np.empty((rows, hidden), dtype)  # and its gradient
        self._scratch = np.empty(max(STRIP, hidden), dtype)
        self._grad_stream, self._grad_branch = np.empty((2, rows, width), dtype)
        self._grad_windows = self._grad_stream.reshape(count, shape.context, width)
        self._grad_together = np.empty((rows, 3 * width), dtype)
        self._grad_weights, self._weights = np.empty((2, count, shape.heads, shape.context, shape.context), dtype)
        self._mask = np.triu(np.full((shape.context, shape.context), -np.inf, dtype), 1)

    def forward(self, tokens: Tokens, targets: Tokens) -> float:
        """Return the sum of the losses of all tokens.

        Parameters
        ----------
        tokens, targets : (count, T), in 0..V-1
        """
        parameters = self._gpt.parameters
        table, streams = parameters["token_embedding.weight"], self._streams
        x = streams[0].reshape(*tokens.shape, -1)
        np.take(table, tokens, axis=0, out=x, mode="clip")  # with "raise", take works on a copy
        x += parameters["position_embedding.weight"]
        for i in range(self._gpt.shape.layers):
            name, attention = f"blocks.{i}", self._attentions[i]
            normed = norm_forward(streams[2 * i], parameters[f"{name}.attention_norm.weight"], self._attention_norms[i])
            np.matmul(normed, parameters[f"{name}.attention.query_key_value.weight"], out=attention.together)
            mixed = attention_forward(attention, self._mask)
            np.matmul(mixed, parameters[f"{name}.attention.output.weight"], out=streams[2 * i + 1])
            streams[2 * i + 1] += streams[2 * i]
            normed = norm_forward(streams[2 * i + 1], parameters[f"{name}.mlp_norm.weight"], self._mlp_norms[i])
            np.matmul(normed, parameters[f"{name}.mlp.up.weight"], out=self._up)
            active = gelu_forward(self._up, self._gelus[i], self._scratch)
            np.matmul(active, parameters[f"{name}.mlp.down.weight"], out=streams[2 * i + 2])
            streams[2 * i + 2] += streams[2 * i + 1]
        normed = norm_forward(streams[-1], parameters["norm.weight"], self._norm)
        return self._losses(np.matmul(normed, table.T, out=self._probabilities), targets.ravel())

    def backward(self, tokens: Tokens, targets: Tokens, count: int, gradients: Mapping[str, Array]) -> None:
        """Write what the sequences of the last `forward` contribute to the gradient of a mean over `count` tokens."""
        parameters = self._gpt.parameters
        table, grad_x, grad_branch = parameters["token_embedding.weight"], self._grad_stream, self._grad_branch
        grad_logits = self._probabilities
        grad_logits[np.arange(len(grad_logits)), targets.ravel()] -= 1
        grad_logits *= 1 / count
        grad_table = gradients["token_embedding.weight"]
        np.matmul(grad_logits.T, self._norm.output, out=grad_table)
        np.matmul(grad_logits, table, out=grad_branch)
        grad_x[...] = 0
        norm_backward(grad_branch, parameters["norm.weight"], self._norm, gradients["norm.weight"], grad_x)
        for i in reversed(range(self._gpt.shape.layers)):
            self._mlp_backward(i, f"blocks.{i}", gradients)
            self._attention_backward(i, f"blocks.{i}", gradients)
        np.add.reduce(self._grad_windows, axis=0, out=gradients["position_embedding.weight"])
        add_by_token(grad_table, tokens.ravel(), grad_x)

    def _mlp_backward(self, i: int, name: str, gradients: Mapping[str, Array]) -> None:
        parameters, grad_x, grad_branch, grad_up = self._gpt.parameters, self._grad_stream, self._grad_branch, self._up
        gelu, norm = self._gelus[i], self._mlp_norms[i]
        np.matmul(gelu.output.T, grad_x, out=gradients[f"{name}.mlp.down.weight"])
        np.matmul(grad_x, parameters[f"{name}.mlp.down.weight"].T, out=grad_up)
        grad_up *= gelu.slope
        np.matmul(norm.output.T, grad_up, out=gradients[f"{name}.mlp.up.weight"])
        np.matmul(grad_up, parameters[f"{name}.mlp.up.weight"].T, out=grad_branch)
        weight = f"{name}.mlp_norm.weight"
        norm_backward(grad_branch, parameters[weight], norm, gradients[weight], grad_x)

    def _attention_backward(self, i: int, name: str, gradients: Mapping[str, Array]) -> None:
        parameters, grad_x, grad_branch = self._gpt.parameters, self._grad_stream, self._grad_branch
        attention, norm, grad_together = self._attentions[i], self._attention_norms[i], self._grad_together
        output, together = f"{name}.attention.output.weight", f"{name}.attention.query_key_value.weight"
        np.matmul(attention.output.T, grad_x, out=gradients[output])
        np.matmul(grad_x, parameters[output].T, out=grad_branch)
        attention_backward(grad_branch, attention, grad_together, self._grad_weights, self._weights)
        np.matmul(norm.output.T, grad_together, out=gradients[together])
        np.matmul(grad_together, parameters[together].T, out=grad_branch)
        weight = f"{name}.attention_norm.weight"
        norm_backward(grad_branch, parameters[weight], norm, gradients[weight], grad_x)

    def _losses(self, logits: Array, labels: Tokens) -> float:
        """Return the sum of -log p at the labels, and leave the probabilities p where the logits were."""
        rows = np.arange(len(labels))
        logits -= np.maximum.reduce(logits, axis=1, keepdims=True)
        at_labels = logits[rows, labels]
        np.exp(logits, out=logits)
        normalizer = np.add.reduce(logits, axis=1, keepdims=True)
        logits /= normalizer
        return float(np.sum(np.log(normalizer[:, 0]) - at_labels, dtype=np.float64))
