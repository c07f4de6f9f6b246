"""Texts as sequences of characters, to train on and to validate."""

import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int64]

TRAIN_SHARE = 0.9
MOST_WINDOWS = 2000
"""A longer text is validated on so many windows that lie evenly in it."""


@dataclass(frozen=True)
class Text:
    """Characters by their numbers, in the order of the text.

    Parameters
    ----------
    source : what the text is, for people
    characters : each character that occurs, once, sorted; a token is a place in it
    train, valid : the first nine tenths of the tokens, and the last
    """

    source: str
    characters: str
    train: Tokens
    valid: Tokens

    def decode(self, tokens: NDArray[np.integer]) -> str:
        """Return the text of some tokens."""
        return "".join(self.characters[token] for token in tokens)

    def checksum(self) -> int:
        """Tell texts of one name apart, so that no run goes on with another one."""
        checksum = zlib.crc32(self.characters.encode())
        return zlib.crc32(self.valid.tobytes(), zlib.crc32(self.train.tobytes(), checksum))


def load_text(path: Path | None, context: int) -> Text:
    """Read a text.

    Parameters
    ----------
    path : a UTF-8 file; None for the documentation of Python's language, which every installation brings
    context : tokens of a window; either part has to be longer

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is not UTF-8 or too short.
    """
    content, source = (_documentation(), "pydoc_data.topics") if path is None else (_read(path), str(path))
    characters = "".join(sorted(set(content)))
    points = np.frombuffer(content.encode("utf-32-le"), np.uint32)
    tokens = np.searchsorted(np.array([ord(character) for character in characters]), points).astype(np.int64)
    count = int(len(tokens) * TRAIN_SHARE)
    text = Text(source, characters, tokens[:count], tokens[count:])
    if len(text.valid) <= context or len(text.train) <= context:
        raise ValueError(
            f"{source}: {len(tokens)} characters are too few; a tenth of them validates, and has to be longer than the "
            f"context of {context}"
        )
    return text


def shuffled_windows(tokens: Tokens, context: int, numbers: range, seed: int) -> tuple[Tokens, Tokens]:
    """Return some windows of an endless shuffled sequence (N, T), and for each of their tokens the one that follows it.

    In every epoch the windows lie beside each other from a new place on, and come in a new order: so each token is
    predicted once before any is predicted again.

    Parameters
    ----------
    tokens : twice as many as the context, or more
    numbers : which of the sequence
    seed : decides the sequence
    """
    in_epoch = len(tokens) // context - 1  # as many as fit from any place below the context on
    starts = []
    for epoch in range(numbers.start // in_epoch, (numbers.stop - 1) // in_epoch + 1):
        rng = np.random.default_rng([seed, epoch])
        order = rng.integers(context) + context * rng.permutation(in_epoch)
        starts.append(order[max(numbers.start - epoch * in_epoch, 0) : numbers.stop - epoch * in_epoch])
    return _windows(tokens, context, np.concatenate(starts))


def all_windows(tokens: Tokens, context: int) -> tuple[Tokens, Tokens]:
    """Return windows beside each other, from the first token on, or some of them evenly; and the tokens that follow."""
    starts = np.arange(0, len(tokens) - context, context)
    if len(starts) > MOST_WINDOWS:
        starts = starts[np.linspace(0, len(starts) - 1, MOST_WINDOWS).astype(int)]
    return _windows(tokens, context, starts)


def _windows(tokens: Tokens, context: int, starts: NDArray[np.integer]) -> tuple[Tokens, Tokens]:
    places = starts[:, np.newaxis] + np.arange(context)
    return tokens[places], tokens[places + 1]


def _documentation() -> str:
    from pydoc_data.topics import topics  # half a megabyte, for this text alone

    return "\n\n".join(topics[name] for name in sorted(topics))


def _read(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            return file.read()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not a UTF-8 text ({error.reason} at byte {error.start})") from error
