"""The networks as `nn.Module`s, of PyTorch's own layers. Imports no other room."""

from torch_reference.networks.cnn import ReferenceCNN
from torch_reference.networks.gpt import ReferenceGPT
from torch_reference.networks.mlp import ReferenceMLP

__all__ = ["ReferenceCNN", "ReferenceGPT", "ReferenceMLP"]
