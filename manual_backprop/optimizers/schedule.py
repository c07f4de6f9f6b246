"""Learning rates that change from step to step."""

import math

WARM_UP = 100
"""Steps in which the learning rate rises, while Adam's moments are means of few gradients."""

LAST_SHARE = 0.1
"""What is left of the learning rate at the last step."""


def warm_up_and_cosine(step: int, steps: int, peak: float) -> float:
    """Return the learning rate of a step: a straight rise to the peak, then half a cosine down to a tenth of it.

    Parameters
    ----------
    step : 0 to steps - 1
    steps : how many there are
    peak : the largest learning rate

    Source: nanoGPT's `get_lr` (A. Karpathy, 2022).
    """
    if step < WARM_UP:
        return peak * (step + 1) / (WARM_UP + 1)
    done = (step - WARM_UP) / max(steps - 1 - WARM_UP, 1)
    return peak * (LAST_SHARE + (1 - LAST_SHARE) * (1 + math.cos(math.pi * done)) / 2)
