"""Blocks cover an array row by row, and finite is what holds only numbers."""

import numpy as np
import pytest

pytest.importorskip("torch")
from torch_reference.checker.blocks import all_finite, blocks


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((), [...]),
        ((0,), []),
        ((1,), [slice(0, 2**16)]),
        ((2**16,), [slice(0, 2**16)]),
        ((2**16 + 1,), [slice(0, 2**16), slice(2**16, 2**17)]),
        ((4, 2**15), [slice(0, 2), slice(2, 4)]),
        ((2, 2**17), [slice(0, 1), slice(1, 2)]),
        ((3, 0), [slice(0, 3 * 2**16)]),
    ],
)
def test_blocks_of_sixty_five_thousand_entries(shape, expected):
    assert blocks(np.broadcast_to(0.0, shape)) == expected


@pytest.mark.parametrize(
    ("entries", "finite"),
    [
        ([], True),
        ([1.0, 2.0], True),
        ([1e308, 1e308], True),
        ([np.inf, 1.0], False),
        ([np.inf, -np.inf, np.nan], False),
    ],
)
def test_all_finite(entries, finite):
    assert all_finite(np.array(entries)) is finite
