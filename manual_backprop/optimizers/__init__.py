"""What moves parameters along their gradients; knows arrays under the same names, no network. Imports `arrays` only."""

from manual_backprop.optimizers.adam import Adam, AdamW
from manual_backprop.optimizers.clipping import clip_grad_norm
from manual_backprop.optimizers.momentum import Momentum
from manual_backprop.optimizers.optimizer import Optimizer

__all__ = ["Adam", "AdamW", "Momentum", "Optimizer", "clip_grad_norm"]
