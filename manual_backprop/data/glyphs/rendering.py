"""The embedded data set: letters A to J rendered from fonts, in notMNIST's format.

It is not notMNIST; what `letters.bend` does is tuned so that the assignment's network finds these letters about as hard
as the real ones.
"""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_path

from manual_backprop.data.glyphs.faces import LATIN, Face, default_faces
from manual_backprop.data.glyphs.font_folder import font_files, read_font_folder
from manual_backprop.data.glyphs.letters import CANVAS, SIZE, bend, fill
from manual_backprop.data.reading import DataError
from manual_backprop.storage.files import replacing

COUNT = 18_724
"""The number of images, that of notMNIST_small."""
RECIPE = 1
"""Part of the name of the cache file: raise it with every change that alters an image."""

logger = logging.getLogger(__name__)


def render_glyphs(
    count: int = COUNT, seed: int = 0, fonts: Sequence[Face] | None = None
) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Render letters, A to J in turn, each from a random face; one in ten is hollow or cut out of a sign.

    Parameters
    ----------
    count : int
        How many. Image i is the same for every count.
    seed : int
        From 0 to 2³² - 1; another seed draws other letters.
    fonts : sequence of faces, optional
        What to draw from. Default: matplotlib's fonts.

    Returns
    -------
    images : (count, 28, 28) array of uint8
        White on black. The ink touches all four sides, as in notMNIST.
    labels : (count,) array of int64
        From 0 for A to 9 for J.
    """
    faces = default_faces() if fonts is None else fonts
    images = np.empty((count, SIZE, SIZE), dtype=np.uint8)
    random = np.random.RandomState()  # its streams never change, as default_rng's may
    for i in range(count):
        random.seed([seed, i])
        letter = faces[random.randint(len(faces))][i % len(LATIN)]
        style = "plain" if random.random_sample() < 0.9 else ("hollow", "sign")[random.randint(2)]
        radius = random.randint(CANVAS // 2)
        images[i] = fill(letter, bend(letter, random), style, radius)
    return images, np.arange(count, dtype=np.int64) % len(LATIN)


def load_glyphs(directory: Path | None = None) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return 18,724 letters, rendered on first use and then kept in the user's cache folder.

    Parameters
    ----------
    directory : Path, optional
        A folder of fonts to use in place of matplotlib's: .ttf, .otf and the first face of .ttc, also in sub-folders.

    Returns
    -------
    images, labels
        As `render_glyphs` returns them.

    Raises
    ------
    DataError
        If `directory` is not a folder or has fewer than ten usable faces.
    """
    name = f"glyphs-{RECIPE}"
    if directory is not None:
        if not directory.is_dir():
            raise DataError(directory, "no such folder", "a folder of fonts")
        digests = b"".join(hashlib.sha256(data).digest() for data in font_files(directory))
        name += f"-{hashlib.sha256(digests).hexdigest()[:16]}"
    path = user_cache_path("manual-backprop") / f"{name}.npz"
    try:
        return _read(path)
    except Exception as error:  # whatever is wrong with a cache file, the remedy is the same
        logger.debug("rendering, for there is no good cache: %r", error)
    images, labels = render_glyphs(COUNT, fonts=None if directory is None else read_font_folder(directory))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary:
            np.savez_compressed(temporary, images=images, labels=labels)
    except OSError as error:
        logger.info("the letters will be rendered again next time: %s", error)
    return images, labels


def _read(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        images, labels = arrays["images"], arrays["labels"]
    expected = (np.uint8, (COUNT, SIZE, SIZE)), (np.int64, (COUNT,))
    if ((images.dtype, images.shape), (labels.dtype, labels.shape)) != expected:
        raise ValueError(f"{path} does not hold the letters")
    return images, labels
