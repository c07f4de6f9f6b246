"""A neural network with hand-derived backpropagation, in NumPy.

- `layers`: each function of the network, its derivative directly below;
- `networks`: `MLP`, which chains them forward and backward;
- `optimizers`: `Momentum`, `Adam`, `AdamW`;
- `training`: `train`, which joins network, optimizer and data.

Beside NumPy this loads tqdm (the bar), safetensors (the weights file) and threadpoolctl (one BLAS thread a worker);
what reads PNG files or letters, or draws, is loaded when it is asked for.
"""

from manual_backprop.data.datasets import Dataset, Split, load_dataset
from manual_backprop.history import History
from manual_backprop.layers import (
    cross_entropy,
    cross_entropy_backward,
    linear,
    linear_backward,
    relu,
    relu_backward,
    softmax,
)
from manual_backprop.networks import MLP
from manual_backprop.optimizers import Adam, AdamW, Momentum, clip_grad_norm
from manual_backprop.training import train

__all__ = [
    "MLP",
    "Adam",
    "AdamW",
    "Dataset",
    "History",
    "Momentum",
    "Split",
    "clip_grad_norm",
    "cross_entropy",
    "cross_entropy_backward",
    "linear",
    "linear_backward",
    "load_dataset",
    "relu",
    "relu_backward",
    "softmax",
    "train",
]
