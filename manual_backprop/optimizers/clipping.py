"""Keeping one outlier among the batches from throwing the parameters far away."""

import math
from collections.abc import Mapping

import numpy as np

from manual_backprop.arrays import Array


def clip_grad_norm(gradients: Mapping[str, Array], max_norm: float) -> float:
    """Scale all gradients by one factor, in place, if their common norm is above `max_norm`:

        gradient <- gradient · min(1, max_norm / (norm + 1e-6))        with norm = √(Σ gradient²) over all entries

    Source: R. Pascanu, T. Mikolov and Y. Bengio, On the difficulty of training recurrent neural networks, 2013; the
    1e-6 is that of `torch.nn.utils.clip_grad_norm_`.

    Returns
    -------
    float
        The norm before.
    """  # noqa: D400 (the formula is the rest of the sentence)
    norm = math.hypot(*(float(np.linalg.norm(gradient)) for gradient in gradients.values()))
    factor = max_norm / (norm + 1e-6)
    if not factor >= 1:  # NaN stays visible
        with np.errstate(invalid="ignore"):
            for gradient in gradients.values():
                gradient *= factor
    return norm
