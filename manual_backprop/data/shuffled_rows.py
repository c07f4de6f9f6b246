"""Rows of a memory-mapped array in shuffled order, for sets of images larger than memory."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class ShuffledRows:
    """The rows `stored[order]`, read only when they are asked for.

    Attributes
    ----------
    stored
        Rows (M, F) as they lie in the file.
    order
        Which of them, in which order: integers (N,).
    """

    stored: NDArray[Any]
    order: NDArray[np.int64]

    ndim = 2

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and features, (N, F)."""
        return len(self.order), self.stored.shape[1]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of a pixel."""
        return self.stored.dtype

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int | slice | NDArray[Any]) -> NDArray[Any]:
        """Return one row (F,), or the rows of a slice, of an array of integers or of a mask, as an array of its own."""
        rows: NDArray[Any] = self.stored[self.order[index]]
        return rows.copy() if rows.ndim == 1 else rows

    def __array__(self, dtype: np.dtype[Any] | None = None, copy: bool | None = None) -> NDArray[Any]:
        """Return all rows as an array in memory; NumPy calls this for `np.asarray(rows)`."""
        if copy is False:
            raise ValueError("shuffled rows cannot become an array without a copy")
        return self[:] if dtype is None else self[:].astype(dtype, copy=False)
