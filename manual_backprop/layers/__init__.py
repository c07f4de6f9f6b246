"""Each function of a network with its hand-derived backward directly below it, one family a file.

Notation, here and in docs/derivation.md: N examples, K classes, L the mean loss over the batch. `grad_output` is
dL/d(output) of a function, in the output's shape; a backward turns it into dL/d(input), in the input's shape.
Every function works in the dtype that it is given and changes none of its arguments. Imports `arrays` only.
"""

from manual_backprop.layers.activations import relu, relu_backward, softmax
from manual_backprop.layers.affine import linear, linear_backward
from manual_backprop.layers.attention import (
    scaled_dot_product_attention,
    scaled_dot_product_attention_backward,
)
from manual_backprop.layers.losses import cross_entropy, cross_entropy_backward
from manual_backprop.layers.regularization import dropout, dropout_backward
from manual_backprop.layers.tokens import (
    embedding,
    embedding_backward,
    rotary_embedding,
    rotary_embedding_backward,
)

__all__ = [
    "cross_entropy",
    "cross_entropy_backward",
    "dropout",
    "dropout_backward",
    "embedding",
    "embedding_backward",
    "linear",
    "linear_backward",
    "relu",
    "relu_backward",
    "rotary_embedding",
    "rotary_embedding_backward",
    "scaled_dot_product_attention",
    "scaled_dot_product_attention_backward",
    "softmax",
]
