"""Adam and AdamW: steps of about the learning rate in every entry, whatever the size of its gradients."""

from collections.abc import Mapping

import numpy as np

from manual_backprop.arrays import Array
from manual_backprop.optimizers.optimizer import Optimizer

# Where no gradient comes any more, the first moment shrinks by beta1 a step until it is below the normal numbers, with
# which processors take many times as long, and rounding keeps it from 0. So every so many steps what is smaller than
# this many of the smallest normal number becomes 0: it would move a parameter by less than any rounding.
FLUSH_EVERY, NEGLIGIBLE = 64, 1000


class Adam(Optimizer):
    """Divide the mean of the recent gradients by the root of their mean square, in place:

        g <- gradient + weight_decay · w                (the gradient of the loss + weight_decay / 2 · |w|²)
        m <- beta1 · m + g
        v <- beta2 · v + g²
        w <- w - learning_rate · m̂ / (√v̂ + eps)        with m̂ = m / Σ_k beta1^k, v̂ = v / Σ_k beta2^k

    The sums run over the t steps so far, k from 0 to t - 1: they are (1 - beta^t) / (1 - beta). So m̂ and v̂ are weighted
    means of all gradients and their squares. The paper keeps (1 - beta) · m, which takes two multiplications more.

    Source: D. P. Kingma and J. Ba, Adam: A Method for Stochastic Optimization, 2015, algorithm 1; the same updates as
    `torch.optim.Adam`.

    Parameters
    ----------
    parameters : mapping of arrays
        Changed in place by `step`.
    learning_rate : float
        May be changed between steps.
    betas : (beta1, beta2)
    eps : float
        Added outside the root.
    weight_decay : float, or a mapping with one for each parameter's name
    """  # noqa: D400 (the formula is the rest of the sentence)

    kinds = ("first_moment", "second_moment")

    def __init__(
        self,
        parameters: Mapping[str, Array],
        learning_rate: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float | Mapping[str, float] = 0.0,
    ) -> None:
        super().__init__(parameters, learning_rate)
        self.betas = betas
        self.eps = eps
        self.weight_decay = (
            dict(weight_decay) if isinstance(weight_decay, Mapping) else dict.fromkeys(parameters, weight_decay)
        )

    def _move(
        self, name: str, parameter: Array, gradient: Array, state: Mapping[str, Array], step: int, scratch: Array
    ) -> None:
        first, second = state["first_moment"], state["second_moment"]
        sum1, sum2 = ((1 - beta**step) / (1 - beta) for beta in self.betas)
        decayed = self._decayed(name, gradient, parameter, scratch)
        first *= self.betas[0]
        first += decayed
        if step % FLUSH_EVERY == 0:
            first[np.abs(first) < NEGLIGIBLE * np.finfo(first.dtype).tiny] = 0
        np.square(decayed, out=scratch)
        second *= self.betas[1]
        second += scratch
        # m̂ / (√v̂ + eps) = √sum2 / sum1 · m / (√v + √sum2 · eps)
        np.sqrt(second, out=scratch)
        scratch += sum2**0.5 * self.eps
        np.divide(first, scratch, out=scratch)
        scratch *= self.learning_rate * sum2**0.5 / sum1
        parameter -= scratch

    def _decayed(self, name: str, gradient: Array, parameter: Array, scratch: Array) -> Array:
        """Return gradient + weight_decay · w, in `scratch` if neither is the gradient itself."""
        if self.weight_decay[name] == 0:
            return gradient
        own = None if np.may_share_memory(scratch, gradient) else scratch
        decayed = np.multiply(parameter, self.weight_decay[name], out=own)
        decayed += gradient
        return decayed


class AdamW(Adam):
    """Adam whose weight decay stays out of the moments, so that every entry shrinks at the same rate:

        w <- w - learning_rate · weight_decay · w
        w <- w - learning_rate · m̂ / (√v̂ + eps)        as in `Adam` without weight decay

    Source: I. Loshchilov and F. Hutter, Decoupled Weight Decay Regularization, 2019, algorithm 2; the same numbers as
    `torch.optim.AdamW`. The parameters are those of `Adam`.
    """  # noqa: D400 (the formula is the rest of the sentence)

    def __init__(
        self,
        parameters: Mapping[str, Array],
        learning_rate: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float | Mapping[str, float] = 0.01,
    ) -> None:
        super().__init__(parameters, learning_rate, betas, eps, weight_decay)

    def _move(
        self, name: str, parameter: Array, gradient: Array, state: Mapping[str, Array], step: int, scratch: Array
    ) -> None:
        parameter *= 1 - self.learning_rate * self.weight_decay[name]
        super()._move(name, parameter, gradient, state, step, scratch)

    def _decayed(self, _name: str, gradient: Array, _parameter: Array, _scratch: Array) -> Array:
        return gradient
