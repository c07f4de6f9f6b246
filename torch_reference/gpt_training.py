"""Training steps of a GPT in PyTorch: its own layers, loss, gradients, clipping and fused AdamW.

Under `torchrun` every process makes every step, with some windows of the batch, and the gradients are added up.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from torch_reference.sharding import Shards

KINDS = ("exp_avg", "exp_avg_sq")
WINDOWS_TOGETHER = 48
"""Of a validation set, so that its logits take little memory."""


class GPTSteps:
    """Steps and losses of one module.

    Parameters
    ----------
    module : gives logits (N, T, V) of tokens (N, T)
    learning_rate, betas, weight_decay : AdamW's; only parameters of two axes decay
    max_norm : the norm to which a step's gradient is scaled down where it is longer
    """

    def __init__(
        self, module: nn.Module, learning_rate: float, betas: tuple[float, float], weight_decay: float, max_norm: float
    ) -> None:
        self.module, self.max_norm, self.shards = module, max_norm, Shards()
        matrices = [value for value in module.parameters() if value.ndim > 1]
        vectors = [value for value in module.parameters() if value.ndim <= 1]
        groups = [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
        self.optimizer = torch.optim.AdamW(groups, learning_rate, betas, fused=True)
        for value in module.parameters():  # as its first step would, so that a checkpoint always has them
            zeros = {kind: torch.zeros_like(value, memory_format=torch.preserve_format) for kind in KINDS}
            self.optimizer.state[value] = {"step": torch.zeros((), dtype=torch.float32, device=value.device), **zeros}

    def train(
        self,
        batches: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]],
        learning_rates: Sequence[float],
    ) -> list[float]:
        """Make one step for each batch of tokens and targets, and return the mean loss of each before its step.

        Raises
        ------
        LostProcessError
            If another process of the run has ended.
        """
        losses = []
        for (tokens, targets), learning_rate in zip(batches, learning_rates, strict=True):
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate
            self.optimizer.zero_grad()
            rows = self.shards.rows(len(tokens))
            share = tokens[rows].size / tokens.size
            loss = self._loss(tokens[rows], targets[rows]) * share
            loss.backward()
            gradients = [value.grad for value in self.module.parameters() if value.grad is not None]
            self.shards.all_reduce([loss.detach(), *gradients])
            nn.utils.clip_grad_norm_(self.module.parameters(), self.max_norm)
            self.optimizer.step()
            losses.append(loss.detach())
        return torch.stack(losses).tolist()

    @torch.no_grad()
    def loss(self, tokens: NDArray[np.int64], targets: NDArray[np.int64]) -> float:
        """Return the mean loss of many windows."""
        total = 0.0
        for start in range(0, len(tokens), WINDOWS_TOGETHER):
            part = slice(start, start + WINDOWS_TOGETHER)
            total += self._loss(tokens[part], targets[part]).item() * tokens[part].size
        return total / tokens.size

    def moments(self) -> dict[str, dict[str, NDArray[np.floating]]]:
        """Return copies of the moments that AdamW keeps of each parameter, as it keeps them."""
        return {
            kind: {
                name: self.optimizer.state[value][kind].cpu().numpy().copy()
                for name, value in self.module.named_parameters()
            }
            for kind in KINDS
        }

    def load_moments(self, state: Mapping[str, Mapping[str, NDArray[np.floating]]], steps: int) -> None:
        """Go on from what `moments` returned after so many steps."""
        for name, value in self.module.named_parameters():
            kept = self.optimizer.state[value]
            kept["step"].fill_(steps)
            for kind in KINDS:
                kept[kind].copy_(torch.from_numpy(state[kind][name]))

    def to_device(self, tokens: NDArray[np.int64]) -> Tensor:
        """Return tokens where the module is."""
        return torch.from_numpy(tokens).to(next(self.module.parameters()).device)

    def _loss(self, tokens: NDArray[np.int64], targets: NDArray[np.int64]) -> Tensor:
        logits = self.module(self.to_device(tokens))
        return cross_entropy(logits.flatten(0, 1), self.to_device(targets).flatten())
