"""Networks: layers in order, forward and backward. Imports `layers`."""

from manual_backprop.networks.mlp import MLP

__all__ = ["MLP"]
