"""Batches of images in the order in which a convolution before 2x2 pooling reads them.

Pixels do not lie row by row, but by their place in a pooling window: all those at the upper left of their windows, then
those at the upper right, the lower left, the lower right. Then the maximum of a window is one of four contiguous
arrays. A pixel at place (dy, dx) of window (i, j) is

    y[2i + dy, 2j + dx] = Σ_uv w[u, v] x[2i + dy + u - 1, 2j + dx + v - 1]

and reads, for all windows at once, one of 16 planes x[2i + a - 1, 2j + b - 1] with a = dy + u and b = dx + v from 0 to
3. So the convolution is one product of (4 · channels, 16) and (16, windows); the bias is a weight of a 17th plane of
ones.
"""

import numpy as np
from numpy.typing import DTypeLike

from manual_backprop.arrays import Array, Rows
from manual_backprop.data.datasets import Split
from manual_backprop.fast.in_place import chosen_images

PLANES = 17


class Planes:
    """The planes of two batches, so that one can be read while the next is written; the arrays are made once.

    Parameters
    ----------
    side : height and width of an image, an even number
    rows : the most images of a batch
    """

    def __init__(self, side: int, rows: int, dtype: DTypeLike) -> None:
        self.side = side
        self._pixels = np.zeros((rows, side * side), np.uint8)
        self._images = np.zeros((rows, side * side), dtype)
        self._padded = np.zeros((side + 2, side + 2, rows), dtype)
        self._arrays = [np.zeros(PLANES * (side // 2) ** 2 * rows, dtype) for _ in range(2)]
        self._loaded: list[Array] = [*self._arrays]

    def __getitem__(self, turn: int) -> Array:
        """Return the planes of batch number `turn`, (17, windows · n)."""
        return self._loaded[turn % 2]

    def load(self, turn: int, split: Split, rows: Rows) -> None:
        """Write the planes of batch number `turn`, over those of the last but one."""
        side, n = self.side, len(split.labels[rows])
        images = chosen_images(split.images, rows, self._pixels[:n], self._images[:n])
        padded = self._padded[..., :n]
        padded[1:-1, 1:-1] = images.reshape(n, side, side).transpose(1, 2, 0)
        size = PLANES * (side // 2) ** 2 * n
        planes = self._arrays[turn % 2][:size].reshape(PLANES, side // 2, side // 2, n)
        for a in range(4):
            for b in range(4):
                planes[4 * a + b] = padded[a : a + side : 2, b : b + side : 2]
        planes[-1] = 1
        self._loaded[turn % 2] = planes.reshape(PLANES, -1)
