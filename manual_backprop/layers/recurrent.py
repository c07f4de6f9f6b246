"""Recurrent layers: one state is carried along a sequence, changed by the same weights at every step."""

import numpy as np

from manual_backprop.arrays import Array
from manual_backprop.layers.activations import sigmoid


def lstm(
    x: Array, h0: Array, c0: Array, weight_ih: Array, weight_hh: Array, bias_ih: Array, bias_hh: Array
) -> tuple[Array, Array, Array]:
    """Carry a state h and a cell c along a sequence: long short-term memory.

        a_t = x_t W_ihᵀ + b_ih + h_(t-1) W_hhᵀ + b_hh       (N, 4H), four gates side by side, in PyTorch's order:
        i, f, o = sigmoid of a's parts 1, 2, 4              what is written, what is kept, what is shown
        g = tanh of a's part 3                              what there is to write
        c_t = f c_(t-1) + i g
        h_t = o tanh(c_t)

    Parameters
    ----------
    x : (T, N, F)
    h0, c0 : (N, H)
    weight_ih : (4H, F)
    weight_hh : (4H, H)
    bias_ih, bias_hh : (4H,)

    Returns
    -------
    outputs : (T, N, H), h_1 to h_T
    h, c : (N, H), the last ones

    Raises
    ------
    ValueError
        If the shapes do not fit together.

    Source: S. Hochreiter and J. Schmidhuber, Long short-term memory, 1997; the gate f: F. Gers et al., 2000.
    """
    _check(4, x, weight_ih, weight_hh, bias_ih, bias_hh, h0=h0, c0=c0)
    _, hidden, cells = _run_lstm(x, h0, c0, weight_ih, weight_hh, bias_ih, bias_hh)
    return hidden[1:], hidden[-1].copy(), cells[-1].copy()


def lstm_backward(
    grad_outputs: Array,
    grad_h: Array,
    grad_c: Array,
    x: Array,
    h0: Array,
    c0: Array,
    weight_ih: Array,
    weight_hh: Array,
    bias_ih: Array,
    bias_hh: Array,
) -> tuple[Array, Array, Array, Array, Array, Array, Array]:
    """Walk the sequence backwards: h_t is read by the loss and by step t + 1, c_t by h_t and by step t + 1.

        dL/dh_t = dL/doutput_t + dL/da_(t+1) W_hh
        dL/dc_t = dL/dh_t o_t (1 - tanh²(c_t)) + dL/dc_(t+1) f_(t+1)

        dL/da_t = [ dL/dc_t g_t i_t (1 - i_t),              the four gates; sigmoid' = s (1 - s), tanh' = 1 - g²
                    dL/dc_t c_(t-1) f_t (1 - f_t),
                    dL/dc_t i_t (1 - g_t²),
                    dL/dh_t tanh(c_t) o_t (1 - o_t) ]

    The weights are the same at every step, so their gradients add up over steps and examples:

        dL/dx_t = dL/da_t W_ih
        dL/dW_ih = sum_t dL/da_tᵀ x_t       dL/dW_hh = sum_t dL/da_tᵀ h_(t-1)       dL/db = sum_tn dL/da_tn

    Parameters
    ----------
    grad_outputs : (T, N, H)
    grad_h, grad_c : (N, H), of the last states
    x, h0, c0, weight_ih, weight_hh, bias_ih, bias_hh : as in `lstm`

    Returns
    -------
    grad_x, grad_h0, grad_c0, grad_weight_ih, grad_weight_hh, grad_bias_ih, grad_bias_hh
    """
    _check(4, x, weight_ih, weight_hh, bias_ih, bias_hh, h0=h0, c0=c0)
    gates, hidden, cells = _run_lstm(x, h0, c0, weight_ih, weight_hh, bias_ih, bias_hh)
    grad_sums = np.zeros_like(gates)
    for t in reversed(range(len(x))):
        i, f, g, o = np.split(gates[t], 4, axis=1)
        shown = np.tanh(cells[t + 1])
        grad_h = grad_outputs[t] + grad_h
        grad_c = grad_c + grad_h * o * (1 - shown**2)
        grad_i = grad_c * g * i * (1 - i)
        grad_f = grad_c * cells[t] * f * (1 - f)
        grad_g = grad_c * i * (1 - g**2)
        grad_o = grad_h * shown * o * (1 - o)
        grad_sums[t] = np.concatenate([grad_i, grad_f, grad_g, grad_o], axis=1)
        grad_h = grad_sums[t] @ weight_hh
        grad_c = grad_c * f

    grad_x = grad_sums @ weight_ih
    grad_weight_ih = _sum_of_products(grad_sums, x)
    grad_weight_hh = _sum_of_products(grad_sums, hidden[:-1])
    grad_bias = grad_sums.sum(axis=(0, 1))
    return grad_x, +grad_h, +grad_c, grad_weight_ih, grad_weight_hh, grad_bias, grad_bias.copy()


def gru(x: Array, h0: Array, weight_ih: Array, weight_hh: Array, bias_ih: Array, bias_hh: Array) -> tuple[Array, Array]:
    """Carry a state h along a sequence: the gated recurrent unit.

        a_t = x_t W_ihᵀ + b_ih      b_t = h_(t-1) W_hhᵀ + b_hh      (N, 3H) each, in PyTorch's order r, z, n
        r, z = sigmoid(a + b), their parts 1 and 2
        n = tanh(a_n + r b_n), their part 3                         the reset gate r acts after the product
        h_t = (1 - z) n + z h_(t-1)

    Parameters
    ----------
    x : (T, N, F)
    h0 : (N, H)
    weight_ih : (3H, F)
    weight_hh : (3H, H)
    bias_ih, bias_hh : (3H,)

    Returns
    -------
    outputs : (T, N, H), h_1 to h_T
    h : (N, H), the last one

    Raises
    ------
    ValueError
        If the shapes do not fit together.

    Source: K. Cho et al., 2014, with r after the product as in PyTorch's `GRU`.
    """
    _check(3, x, weight_ih, weight_hh, bias_ih, bias_hh, h0=h0)
    _, _, hidden = _run_gru(x, h0, weight_ih, weight_hh, bias_ih, bias_hh)
    return hidden[1:], hidden[-1].copy()


def gru_backward(
    grad_outputs: Array,
    grad_h: Array,
    x: Array,
    h0: Array,
    weight_ih: Array,
    weight_hh: Array,
    bias_ih: Array,
    bias_hh: Array,
) -> tuple[Array, Array, Array, Array, Array, Array]:
    """Walk the sequence backwards: h_t is read by the loss, by the product of step t + 1 and by its last line.

        dL/dh_t = dL/doutput_t + dL/db_(t+1) W_hh + dL/dh_(t+1) z_(t+1)

        dL/da_t = [ dL/dn' b_n r (1 - r),                   with dL/dn' = dL/dh_t (1 - z) (1 - n²)
                    dL/dh_t (h_(t-1) - n) z (1 - z),
                    dL/dn' ]
        dL/db_t = the same, but dL/dn' r in the third part

    The weights are the same at every step, so their gradients add up over steps and examples:

        dL/dx_t = dL/da_t W_ih
        dL/dW_ih = sum_t dL/da_tᵀ x_t       dL/dW_hh = sum_t dL/db_tᵀ h_(t-1)
        dL/db_ih = sum_tn dL/da_tn          dL/db_hh = sum_tn dL/db_tn

    Parameters
    ----------
    grad_outputs : (T, N, H)
    grad_h : (N, H), of the last state
    x, h0, weight_ih, weight_hh, bias_ih, bias_hh : as in `gru`

    Returns
    -------
    grad_x, grad_h0, grad_weight_ih, grad_weight_hh, grad_bias_ih, grad_bias_hh
    """
    _check(3, x, weight_ih, weight_hh, bias_ih, bias_hh, h0=h0)
    gates, products, hidden = _run_gru(x, h0, weight_ih, weight_hh, bias_ih, bias_hh)
    grad_inputs, grad_products = np.zeros_like(gates), np.zeros_like(gates)
    for t in reversed(range(len(x))):
        r, z, n = np.split(gates[t], 3, axis=1)
        grad_h = grad_outputs[t] + grad_h
        grad_n = grad_h * (1 - z) * (1 - n**2)
        grad_z = grad_h * (hidden[t] - n) * z * (1 - z)
        grad_r = grad_n * products[t] * r * (1 - r)
        grad_inputs[t] = np.concatenate([grad_r, grad_z, grad_n], axis=1)
        grad_products[t] = np.concatenate([grad_r, grad_z, grad_n * r], axis=1)
        grad_h = grad_h * z + grad_products[t] @ weight_hh

    grad_x = grad_inputs @ weight_ih
    grad_weight_ih = _sum_of_products(grad_inputs, x)
    grad_weight_hh = _sum_of_products(grad_products, hidden[:-1])
    grad_bias_ih = grad_inputs.sum(axis=(0, 1))
    grad_bias_hh = grad_products.sum(axis=(0, 1))
    return grad_x, +grad_h, grad_weight_ih, grad_weight_hh, grad_bias_ih, grad_bias_hh


def _run_lstm(
    x: Array, h0: Array, c0: Array, weight_ih: Array, weight_hh: Array, bias_ih: Array, bias_hh: Array
) -> tuple[Array, Array, Array]:
    """Return the gates (T, N, 4H), and h and c (T + 1, N, H) from the first state to the last."""
    gates = x @ weight_ih.T + bias_ih + bias_hh
    hidden, cells = _states(h0, len(x)), _states(c0, len(x))
    for t in range(len(x)):
        i, f, g, o = np.split(gates[t] + hidden[t] @ weight_hh.T, 4, axis=1)
        i, f, g, o = sigmoid(i), sigmoid(f), np.tanh(g), sigmoid(o)
        gates[t] = np.concatenate([i, f, g, o], axis=1)
        cells[t + 1] = f * cells[t] + i * g
        hidden[t + 1] = o * np.tanh(cells[t + 1])
    return gates, hidden, cells


def _run_gru(
    x: Array, h0: Array, weight_ih: Array, weight_hh: Array, bias_ih: Array, bias_hh: Array
) -> tuple[Array, Array, Array]:
    """Return the gates (T, N, 3H), b_n (T, N, H) and h (T + 1, N, H) from the first state to the last."""
    gates = x @ weight_ih.T + bias_ih
    hidden = _states(h0, len(x))
    products = np.empty_like(hidden[1:])
    for t in range(len(x)):
        a_r, a_z, a_n = np.split(gates[t], 3, axis=1)
        b_r, b_z, b_n = np.split(hidden[t] @ weight_hh.T + bias_hh, 3, axis=1)
        r, z = sigmoid(a_r + b_r), sigmoid(a_z + b_z)
        n = np.tanh(a_n + r * b_n)
        gates[t] = np.concatenate([r, z, n], axis=1)
        products[t] = b_n
        hidden[t + 1] = (1 - z) * n + z * hidden[t]
    return gates, products, hidden


def _states(first: Array, length: int) -> Array:
    """Return room for a state and its `length` successors, (T + 1, N, H)."""
    return np.concatenate([first[np.newaxis], np.zeros((length, *first.shape), first.dtype)])


def _sum_of_products(grad: Array, x: Array) -> Array:
    """Return sum_t grad_tᵀ x_t, (A, B), of (T, N, A) and (T, N, B)."""
    return np.tensordot(grad, x, axes=((0, 1), (0, 1)))


def _check(gates: int, x: Array, *weights: Array, **states: Array) -> None:
    weight_hh = weights[1]
    if x.ndim != 3 or weight_hh.ndim != 2:
        raise ValueError(f"expected x (T, N, F) and weight_hh ({gates}H, H), got {x.shape} and {weight_hh.shape}")
    _, count, features = x.shape
    units = weight_hh.shape[1]
    together = gates * units
    shapes = ((together, features), (together, units), (together,), (together,), *[(count, units)] * len(states))
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", *states)
    for name, array, shape in zip(names, (*weights, *states.values()), shapes, strict=True):
        if array.shape != shape:
            raise ValueError(f"{name}: expected {shape} with x {x.shape} and {units} units, got {array.shape}")
