"""From tokens to vectors: rows of a table, and rotations that tell where in the text a vector stands."""

import numpy as np
from numpy.typing import NDArray

from manual_backprop.arrays import Array


def embedding(indices: NDArray[np.integer], weight: Array) -> Array:
    """Return row `indices` of the table for each token: y_nd = W_(i_n)d.

    Parameters
    ----------
    indices : (...), integers in 0..V-1
    weight : (V, D)

    Returns
    -------
    (..., D)

    Raises
    ------
    ValueError
        If an index is not an integer or outside 0..V-1.
    """
    _check_indices(indices, len(weight))
    return weight[indices]


def embedding_backward(grad_output: Array, indices: NDArray[np.integer], weight: Array) -> Array:
    """Add up the gradients of all tokens that read the same row.

    With y_nd = sum_v [v = i_n] W_vd,

        dL/dW_vd = sum_n [i_n = v] dL/dy_nd

    `grad_weight[indices] += grad_output` would read every row once, before any addition, and so keep only the last of
    several tokens with one index. `np.add.at` adds them one after the other.

    Parameters
    ----------
    grad_output : (..., D)
    indices : (...)
    weight : (V, D)

    Returns
    -------
    grad_weight : (V, D); rows that no token reads are 0

    Raises
    ------
    ValueError
        As `embedding`.
    """
    _check_indices(indices, len(weight))
    grad_weight = np.zeros_like(weight)
    np.add.at(grad_weight, indices, grad_output)
    return grad_weight


def rotary_embedding(x: Array, positions: NDArray[np.integer], base: float = 10000.0) -> Array:
    """Rotate each pair (x_i, x_(i+D/2)) of a vector by an angle that grows with its position.

        a_ti = position_t · base^(-2i/D)        for i < D/2
        y_i = x_i cos a - x_(i+D/2) sin a
        y_(i+D/2) = x_i sin a + x_(i+D/2) cos a

    The product of two rotated vectors depends on their positions only by the difference of the angles.

    Parameters
    ----------
    x : (..., T, D), D even
    positions : (T,)
    base : the slowest pair turns by about 1 / base of a radian from one position to the next

    Returns
    -------
    (..., T, D)

    Raises
    ------
    ValueError
        If D is odd or `positions` has another length than `x`.

    Source: J. Su et al., RoFormer: enhanced transformer with rotary position embedding, 2021.
    """
    cos, sin = _rotation(x, positions, base)
    first, second = np.split(x, 2, axis=-1)
    return np.concatenate([first * cos - second * sin, first * sin + second * cos], axis=-1)


def rotary_embedding_backward(
    grad_output: Array, x: Array, positions: NDArray[np.integer], base: float = 10000.0
) -> Array:
    """Rotate the gradient back: the transpose of a rotation is the rotation by the opposite angle.

        dL/dx_i = dL/dy_i cos a + dL/dy_(i+D/2) sin a
        dL/dx_(i+D/2) = dL/dy_(i+D/2) cos a - dL/dy_i sin a

    Parameters
    ----------
    grad_output, x : (..., T, D)
    positions : (T,)
    base : as in `rotary_embedding`

    Returns
    -------
    grad_x : (..., T, D)

    Raises
    ------
    ValueError
        As `rotary_embedding`.
    """
    cos, sin = _rotation(x, positions, base)
    grad_first, grad_second = np.split(grad_output, 2, axis=-1)
    return np.concatenate([grad_first * cos + grad_second * sin, grad_second * cos - grad_first * sin], axis=-1)


def _rotation(x: Array, positions: NDArray[np.integer], base: float) -> tuple[Array, Array]:
    """Return cosine and sine of every angle, (T, D/2). An angle of float32 would be off by 1e-4 at position 1000."""
    length, width = x.shape[-2:]
    if width % 2:
        raise ValueError(f"x: expected an even width, whose halves are the pairs, got {width}")
    if positions.shape != (length,):
        raise ValueError(f"positions: expected one for each of {length} vectors, got shape {positions.shape}")
    precise = np.promote_types(x.dtype, np.float64).type
    frequencies = precise(base) ** (-2 * np.arange(width // 2) / precise(width))
    angles = positions[:, np.newaxis] * frequencies
    return np.cos(angles).astype(x.dtype), np.sin(angles).astype(x.dtype)


def _check_indices(indices: NDArray[np.integer], count: int) -> None:
    if not np.issubdtype(indices.dtype, np.integer):
        raise ValueError(f"indices: expected integers, got {indices.dtype}")
    wrong = (indices < 0) | (indices >= count)
    if wrong.any():
        raise ValueError(f"indices: {indices[wrong][0]} is outside 0..{count - 1}, the rows of the table")
