"""The faces in a user's own folder of fonts: without copies, and without fonts of symbols."""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from manual_backprop.data.glyphs.faces import LATIN, Face, default_faces, read_face
from manual_backprop.data.glyphs.letters import fill
from manual_backprop.data.reading import DataError, printable

FEWEST_FACES = 10
LARGEST_FILE = 2**27
"""Bytes; the largest real fonts, Chinese collections, have about 2²⁷."""

logger = logging.getLogger(__name__)


def font_files(directory: Path) -> Iterator[bytes]:
    """Yield the content of each font file in a folder and its sub-folders, in the order of the paths."""
    for path in sorted(directory.rglob("*")):
        try:
            if path.suffix.lower() not in {".ttf", ".otf", ".ttc"} or not path.is_file():
                continue
            if path.stat().st_size > LARGEST_FILE:
                raise OSError(f"larger than {LARGEST_FILE} bytes")
            data = path.read_bytes()
        except OSError as error:
            logger.info("skipped %s: %s", printable(path), error)
            continue
        yield data


def read_font_folder(directory: Path) -> Sequence[Face]:
    """Read the faces with ten different letters A to J.

    A copy differs from a face already kept by less than 0.02 (root mean square over its ten images). A face looks like
    letters if at least four of the ten correlate best with the default faces' mean of the same letter.

    Raises
    ------
    DataError
        If fewer than ten faces are left.
    """
    means = _standardized(np.mean([_images(face) for face in default_faces()], axis=0))
    faces: list[Face] = []
    kept: list[NDArray[np.float64]] = []
    found = incomplete = copies = others = 0
    for data in font_files(directory):
        found += 1
        try:
            face = read_face(data)
            images = _images(face)
        except Exception as error:
            logger.debug("no face: %r", error)
            incomplete += 1
            continue
        if len(np.unique(images, axis=0)) < len(LATIN) or not images.any(axis=1).all():
            incomplete += 1
        elif np.sum(np.argmax(_standardized(images) @ means.T, axis=1) == np.arange(len(LATIN))) < 4:
            others += 1
        elif any(np.mean((images - earlier) ** 2) < 0.02**2 for earlier in kept):
            copies += 1
        else:
            faces.append(face)
            kept.append(images)
    counts = (
        f"{len(faces)} different faces in {found} font files ({copies} copies, {others} that do not look like letters, "
        f"{incomplete} unreadable or without ten letters A to J)"
    )
    logger.info("%s: %s", printable(directory), counts)
    if len(faces) < FEWEST_FACES:
        raise DataError(directory, counts, f"at least {FEWEST_FACES}")
    return faces


def _images(face: Face) -> NDArray[np.float64]:
    """Return the ten letters as the font has them, (10, 784), from 0 to 1."""
    return np.array([fill(letter, letter.points).ravel() for letter in face]) / 255


def _standardized(images: NDArray[np.float64]) -> NDArray[np.float64]:
    """Give the rows mean 0 and length 1, so that their products are correlations; an even row becomes 0."""
    centred = images - images.mean(axis=1, keepdims=True)
    return centred / np.maximum(np.linalg.norm(centred, axis=1, keepdims=True), 1e-12)
