"""One letter: its outline, bent at random and filled with ink."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

SIZE = 28
"""The side of an image, in pixels."""
CANVAS = 6 * SIZE
"""The side of the canvas that a letter is filled on, in its pixels."""

Points = NDArray[np.float64]


class Letter(NamedTuple):
    """An outline of height one around the origin, y upward, made of closed contours of which the largest is first.

    Attributes
    ----------
    points : (P, 2) array
        The points of all contours, one contour after the other.
    normals : (P, 2) array
        How each point moves where the strokes become twice as wide: outward, by half a stem.
    starts : list of int
        Where the second contour and those after it begin.
    inked : list of bool
        For each contour, whether it encloses ink (or else a hole).
    """

    points: Points
    normals: Points
    starts: list[int]
    inked: list[bool]


def letter_of(contours: Sequence[Points]) -> Letter:
    """Scale contours (n, 2) to a letter and find its normals.

    Where an edge with unit normal m meets one with n, both move by the same distance when their point moves along the
    mitre (m + n) / (1 + m·n); the denominator is kept from 0 for the tips of hairpins. A long bar's width is 2 area /
    perimeter, and so is what we call the stem of any letter.

    Raises
    ------
    ValueError
        If nothing is enclosed.
    """
    contours = [contour[np.any(contour != np.roll(contour, 1, axis=0), axis=1)] for contour in contours]
    contours = sorted(filter(len, contours), key=lambda contour: -abs(_area(contour)))
    if not contours or _area(contours[0]) == 0:
        raise ValueError("a letter without ink")
    lengths = [len(contour) for contour in contours]
    points = np.concatenate(contours)
    low, high = points.min(axis=0), points.max(axis=0)
    contours = [(contour - (low + high) / 2) / (high - low)[1] for contour in contours]
    areas = np.array([_area(contour) for contour in contours])

    mitres, perimeter = [], 0.0
    for contour in contours:
        edges = np.roll(contour, -1, axis=0) - contour
        edge_lengths = np.linalg.norm(edges, axis=1, keepdims=True)
        perimeter += edge_lengths.sum()
        n = np.sign(areas[0]) * edges[:, ::-1] * (1, -1) / edge_lengths
        m = np.roll(n, 1, axis=0)
        mitres.append((m + n) / np.maximum(1 + np.sum(m * n, axis=1, keepdims=True), 0.25))
    stem = 2 * abs(areas.sum()) / perimeter
    starts = np.cumsum(lengths)[:-1].tolist()
    return Letter(np.concatenate(contours), np.concatenate(mitres) * stem / 2, starts, (areas * areas[0] > 0).tolist())


def _area(contour: Points) -> float:
    """Return the signed area, ½ Σ (x_i y_{i+1} - x_{i+1} y_i)."""
    (x, y), (next_x, next_y) = contour.T, np.roll(contour, -1, axis=0).T
    return float(np.sum(x * next_y - next_x * y) / 2)


def bend(letter: Letter, random: np.random.RandomState) -> Points:
    """Return the points (P, 2) of a letter after random changes of its strokes, a smooth warp and a slant.

    The strength s = min(exp(z), 4), z normal, scales all three: most letters are bent a little, a few wildly, as the
    real ones are. With more normal z's, strokes gain the share clip(0.25 + 0.45 s z, -0.7, 2) of their width, apart
    for x and y; the warp moves x and y by 0.028 s Σ z_ij cos(i π (x + ½)) cos(j π (y + ½)) / (1 + i + j), summed over
    i, j = 0, 1, 2; the slant moves x by 0.15 s z y.
    """
    strength = min(np.exp(random.standard_normal()), 4)
    growth = np.clip(0.25 + 0.45 * strength * random.standard_normal(2), -0.7, 2)
    order = np.arange(3)
    amplitudes = 0.028 * strength * random.standard_normal((2, 3, 3)) / (1 + order + order[:, np.newaxis])
    waves = np.cos(np.pi * order * (letter.points + 0.5)[:, :, np.newaxis])
    points = letter.points + growth * letter.normals
    points += np.sum(waves[:, 0] @ amplitudes * waves[:, 1], axis=2).T
    points[:, 0] += 0.15 * strength * random.standard_normal() * letter.points[:, 1]
    return points


def fill(letter: Letter, points: Points, style: str = "plain", radius: float = 0) -> NDArray[np.uint8]:
    """Fill a letter whose outline moved to `points` and stretch the ink to (28, 28) pixels, white on black.

    From the largest to the smallest, each contour is painted as ink or as a hole, which is right for overlapping
    strokes and for ink inside of holes. The style is `"plain"`, `"hollow"` or `"sign"`: cut out of a sign with
    corners of the given radius, in pixels of the canvas.
    """
    image = Image.new("L", (CANVAS, CANVAS))
    draw = ImageDraw.Draw(image)
    ink, paper, margin = 255, 0, 0.0
    if style == "sign":
        draw.rounded_rectangle((0, 0, CANVAS - 1, CANVAS - 1), radius, fill=255)
        ink, paper, margin = 0, 255, 0.15
    low, high = points.min(axis=0), points.max(axis=0)
    unit = (points - low) / (high - low) * (1, -1) + (0, 1)  # y points down in images
    # On whole pixels a last bit's difference between machines is lost.
    pixels = np.rint((margin + (1 - 2 * margin) * unit) * (CANVAS - 1)).astype(np.int64)
    for contour, inked in zip(np.split(pixels, letter.starts), letter.inked, strict=True):
        corners = contour.ravel().tolist()
        draw.polygon(corners, fill=ink if inked and style != "hollow" else paper)
        if style == "hollow":
            draw.line(corners + corners[:4], fill=ink, width=CANVAS // 20)
    return np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BOX, box=image.getbbox()))
