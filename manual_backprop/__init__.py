"""A neural network with hand-derived backpropagation, in NumPy alone.

- ``layers``: each function of the network, its derivative directly below;
- ``network``: ``MLP``, which chains them forward and backward;
- ``optimizer``: ``Momentum``;
- ``training``: ``train``, which joins network, optimizer and data.
"""

from manual_backprop.datasets import Dataset, Split, load_dataset
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
from manual_backprop.network import MLP
from manual_backprop.optimizer import Momentum
from manual_backprop.training import train

__all__ = [
    "MLP",
    "Dataset",
    "History",
    "Momentum",
    "Split",
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
