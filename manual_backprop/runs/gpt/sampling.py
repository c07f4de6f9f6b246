"""Text that a network writes, one character after the other."""

from collections.abc import Callable

import numpy as np

from manual_backprop.arrays import Array
from manual_backprop.data.texts.characters import Text, Tokens
from manual_backprop.layers import softmax

LENGTH = 500


def sample(logits_of: Callable[[Tokens], Array], text: Text, context: int, seed: int) -> str:
    """Draw `LENGTH` characters, each by the network's probabilities after those before it.

    Parameters
    ----------
    logits_of : gives the logits (1, T, V) of tokens (1, T)
    text : its validation part begins with the first characters, which are not returned
    context : the most tokens that the network sees
    seed : decides the draws
    """
    rng = np.random.default_rng([seed, 1])
    tokens = list(text.valid[:context])
    for _ in range(LENGTH):
        logits = logits_of(np.array([tokens[-context:]]))[0, -1:]
        cumulative = np.cumsum(softmax(logits.astype(np.float64)))
        # the sum may be a little below 1, and the draw above it
        tokens.append(min(int(np.searchsorted(cumulative, rng.random())), len(cumulative) - 1))
    return text.decode(np.array(tokens[-LENGTH:]))
