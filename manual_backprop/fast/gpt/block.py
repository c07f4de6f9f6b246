"""Forward and backward pass of a GPT over a block of sequences, step by step as in `GPT.backprop`."""

from collections.abc import Mapping

import numpy as np

from manual_backprop.arrays import Array
from manual_backprop.fast.aligned import aligned_empty
from manual_backprop.fast.gpt.attention import Attention, AttentionScratch, attention_backward, attention_forward
from manual_backprop.fast.gpt.layers import (
    STRIP,
    Gelu,
    Norm,
    Tokens,
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
        self._gpt = gpt
        layers = range(shape.layers)
        attention = count, shape.context, shape.heads, width, dtype
        self._attention_norms = [Norm.make(rows, width, dtype) for _ in layers]
        self._attentions = [Attention.make(*attention) for _ in layers]
        self._mlp_norms = [Norm.make(rows, width, dtype) for _ in layers]
        self._gelus = [Gelu.make(rows, hidden, dtype) for _ in layers]
        self._norm = Norm.make(rows, width, dtype)
        self._probabilities = aligned_empty((rows, shape.vocabulary), dtype)
        # the stream, what a branch adds to it and the hidden units, and on the way back their gradients
        self._stream, self._branch = aligned_empty((rows, width), dtype), aligned_empty((rows, width), dtype)
        self._up = aligned_empty((rows, hidden), dtype)
        self._windows = self._stream.reshape(count, shape.context, width)
        self._scratch = aligned_empty(max(STRIP, hidden), dtype)
        self._attention_scratch = AttentionScratch.make(*attention)
        self._grad_attention = Attention.make(*attention)
        self._grad_table = aligned_empty((shape.vocabulary, width), dtype)
        self._mask = np.triu(np.full((shape.context, shape.context), -np.inf, dtype), 1)

    def forward(self, tokens: Tokens, targets: Tokens) -> float:
        """Return the sum of the losses of all tokens.

        Parameters
        ----------
        tokens, targets : (count, T), in 0..V-1
        """
        parameters = self._gpt.parameters
        table, stream, branch = parameters["token_embedding.weight"], self._stream, self._branch
        np.take(table, tokens, axis=0, out=self._windows, mode="clip")  # with "raise", take works on a copy
        self._windows += parameters["position_embedding.weight"]
        for i in range(self._gpt.shape.layers):
            name, attention = f"blocks.{i}", self._attentions[i]
            normed = norm_forward(stream, parameters[f"{name}.attention_norm.weight"], self._attention_norms[i])
            np.matmul(normed, parameters[f"{name}.attention.query_key_value.weight"], out=attention.together)
            mixed = attention_forward(attention, self._mask, self._attention_scratch)
            stream += np.matmul(mixed, parameters[f"{name}.attention.output.weight"], out=branch)
            normed = norm_forward(stream, parameters[f"{name}.mlp_norm.weight"], self._mlp_norms[i])
            np.matmul(normed, parameters[f"{name}.mlp.up.weight"], out=self._up)
            active = gelu_forward(self._up, self._gelus[i], self._scratch)
            stream += np.matmul(active, parameters[f"{name}.mlp.down.weight"], out=branch)
        normed = norm_forward(stream, parameters["norm.weight"], self._norm)
        return self._losses(np.matmul(normed, table.T, out=self._probabilities), targets.ravel())

    def backward(self, tokens: Tokens, targets: Tokens, count: int, gradients: Mapping[str, Array]) -> None:
        """Write what the sequences of the last `forward` contribute to the gradient of a mean over `count` tokens."""
        parameters = self._gpt.parameters
        table, grad_x, grad_branch = parameters["token_embedding.weight"], self._stream, self._branch
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
        np.add.reduce(self._windows, axis=0, out=gradients["position_embedding.weight"])
        # a token's row of the table gets the gradients of all its places: a product with rows that are one-hot
        one_hot = grad_logits
        one_hot[...] = 0
        one_hot[np.arange(len(one_hot)), tokens.ravel()] = 1
        grad_table += np.matmul(one_hot.T, grad_x, out=self._grad_table)

    def _mlp_backward(self, i: int, name: str, gradients: Mapping[str, Array]) -> None:
        parameters, grad_x, grad_branch, grad_up = self._gpt.parameters, self._stream, self._branch, self._up
        gelu, norm = self._gelus[i], self._mlp_norms[i]
        np.matmul(gelu.output.T, grad_x, out=gradients[f"{name}.mlp.down.weight"])
        np.matmul(grad_x, parameters[f"{name}.mlp.down.weight"].T, out=grad_up)
        grad_up *= gelu.slope
        np.matmul(norm.output.T, grad_up, out=gradients[f"{name}.mlp.up.weight"])
        np.matmul(grad_up, parameters[f"{name}.mlp.up.weight"].T, out=grad_branch)
        weight = f"{name}.mlp_norm.weight"
        norm_backward(grad_branch, parameters[weight], norm, gradients[weight], grad_x)

    def _attention_backward(self, i: int, name: str, gradients: Mapping[str, Array]) -> None:
        parameters, grad_x, grad_branch = self._gpt.parameters, self._stream, self._branch
        attention, norm = self._attentions[i], self._attention_norms[i]
        output, together = f"{name}.attention.output.weight", f"{name}.attention.query_key_value.weight"
        np.matmul(attention.output.T, grad_x, out=gradients[output])
        np.matmul(grad_x, parameters[output].T, out=self._grad_attention.output)
        grad_together = attention_backward(attention, self._grad_attention, self._attention_scratch)
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
