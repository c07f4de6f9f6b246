"""Networks: layers in order, forward and backward. Imports `layers` and `storage`."""

from manual_backprop.networks.cnn import CNN
from manual_backprop.networks.gpt import GPT
from manual_backprop.networks.gpt_shape import GPTShape
from manual_backprop.networks.mlp import MLP
from manual_backprop.networks.network import Classifier, Network

__all__ = ["CNN", "GPT", "MLP", "Classifier", "GPTShape", "Network"]
