"""The linear layer: one weight for each pair of an input and an output, and a bias."""

from manual_backprop.arrays import Array


def linear(x: Array, weight: Array, bias: Array) -> Array:
    """Apply one layer: s = x W + b (assignment 1.1, `computeLayer`).

    Parameters
    ----------
    x : (N, in)
    weight : (in, out)
    bias : (out,)

    Returns
    -------
    (N, out)
    """
    return x @ weight + bias


def linear_backward(grad_output: Array, x: Array, weight: Array) -> tuple[Array, Array, Array]:
    """Carry dL/ds back through s = x W + b (assignment 1.2).

    With s_nj = sum_i x_ni W_ij + b_j, the chain rule gives

        dL/dx_ni = sum_j dL/ds_nj W_ij      dL/dx = dL/ds Wᵀ
        dL/dW_ij = sum_n x_ni dL/ds_nj      dL/dW = xᵀ dL/ds
        dL/db_j  = sum_n dL/ds_nj           dL/db = the column sums of dL/ds

    Parameters
    ----------
    grad_output : (N, out)
    x : (N, in)
    weight : (in, out)

    Returns
    -------
    grad_x : (N, in)
    grad_weight : (in, out)
    grad_bias : (out,)
    """
    grad_x = grad_output @ weight.T
    grad_weight = x.T @ grad_output
    grad_bias = grad_output.sum(axis=0)
    return grad_x, grad_weight, grad_bias
