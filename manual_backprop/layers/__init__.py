"""Each function of a network with its hand-derived backward directly below it, one family a file.

Notation, here and in docs/derivations/mlp.md: N examples, K classes, L the mean loss over the batch. `grad_output` is
dL/d(output) of a function, in the output's shape; a backward turns it into dL/d(input), in the input's shape.
Every function works in the dtype that it is given and changes none of its arguments. Imports `arrays` only.
"""

from manual_backprop.layers.activations import (
    gelu,
    gelu_backward,
    leaky_relu,
    leaky_relu_backward,
    log_softmax,
    log_softmax_backward,
    relu,
    relu_backward,
    sigmoid,
    sigmoid_backward,
    silu,
    silu_backward,
    softmax,
    softmax_backward,
    softplus,
    softplus_backward,
    tanh,
    tanh_backward,
)
from manual_backprop.layers.affine import (
    linear,
    linear_backward,
)
from manual_backprop.layers.attention import (
    scaled_dot_product_attention,
    scaled_dot_product_attention_backward,
)
from manual_backprop.layers.convolution import (
    conv2d,
    conv2d_backward,
)
from manual_backprop.layers.losses import (
    binary_cross_entropy_with_logits,
    binary_cross_entropy_with_logits_backward,
    cross_entropy,
    cross_entropy_backward,
    mse_loss,
    mse_loss_backward,
)
from manual_backprop.layers.normalization import (
    batch_norm,
    batch_norm_backward,
    batch_norm_inference,
    batch_norm_inference_backward,
    group_norm,
    group_norm_backward,
    layer_norm,
    layer_norm_backward,
    rms_norm,
    rms_norm_backward,
)
from manual_backprop.layers.pooling import (
    avg_pool2d,
    avg_pool2d_backward,
    max_pool2d,
    max_pool2d_backward,
)
from manual_backprop.layers.recurrent import gru, gru_backward, lstm, lstm_backward
from manual_backprop.layers.regularization import (
    dropout,
    dropout_backward,
)
from manual_backprop.layers.tokens import (
    embedding,
    embedding_backward,
    rotary_embedding,
    rotary_embedding_backward,
)

__all__ = [
    "avg_pool2d",
    "avg_pool2d_backward",
    "batch_norm",
    "batch_norm_backward",
    "batch_norm_inference",
    "batch_norm_inference_backward",
    "binary_cross_entropy_with_logits",
    "binary_cross_entropy_with_logits_backward",
    "conv2d",
    "conv2d_backward",
    "cross_entropy",
    "cross_entropy_backward",
    "dropout",
    "dropout_backward",
    "embedding",
    "embedding_backward",
    "gelu",
    "gelu_backward",
    "group_norm",
    "group_norm_backward",
    "gru",
    "gru_backward",
    "layer_norm",
    "layer_norm_backward",
    "leaky_relu",
    "leaky_relu_backward",
    "linear",
    "linear_backward",
    "log_softmax",
    "log_softmax_backward",
    "lstm",
    "lstm_backward",
    "max_pool2d",
    "max_pool2d_backward",
    "mse_loss",
    "mse_loss_backward",
    "relu",
    "relu_backward",
    "rms_norm",
    "rms_norm_backward",
    "rotary_embedding",
    "rotary_embedding_backward",
    "scaled_dot_product_attention",
    "scaled_dot_product_attention_backward",
    "sigmoid",
    "sigmoid_backward",
    "silu",
    "silu_backward",
    "softmax",
    "softmax_backward",
    "softplus",
    "softplus_backward",
    "tanh",
    "tanh_backward",
]
