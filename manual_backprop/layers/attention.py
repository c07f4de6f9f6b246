"""Attention: every position of a sequence takes a mean of values, weighted by how its query meets their keys."""

import numpy as np

from manual_backprop.arrays import Array
from manual_backprop.layers.activations import softmax


def scaled_dot_product_attention(query: Array, key: Array, value: Array, causal: bool = False) -> Array:
    """Return means of the values, with weights from the products of queries and keys.

        s_ij = sum_d q_id k_jd / sqrt(D)        the score of key j for query i; -inf where j > i if causal
        p_ij = exp(s_ij) / sum_m exp(s_im)
        o_ie = sum_j p_ij v_je

    in every head of every example. Key and value may have fewer heads than the query, each for a group of its heads
    that follow each other: query head h uses head h // (heads / groups).

    Parameters
    ----------
    query : (N, heads, T, D)
    key : (N, groups, S, D); groups divides heads
    value : (N, groups, S, E); mostly S = T and E = D
    causal : whether a position sees itself and earlier ones only

    Returns
    -------
    (N, heads, T, E)

    Raises
    ------
    ValueError
        If the shapes do not fit together.

    Source: A. Vaswani et al., Attention is all you need, 2017; grouped heads: J. Ainslie et al., GQA, 2023.
    """
    _check(query, key, value)
    return _join(_weights(_group(query, key), key, causal) @ value[:, :, np.newaxis])


def scaled_dot_product_attention_backward(
    grad_output: Array, query: Array, key: Array, value: Array, causal: bool = False
) -> tuple[Array, Array, Array]:
    """Carry the gradient back through the mean, the softmax and the scores.

        dL/dv_je = sum_i p_ij dL/do_ie                      dL/dV = Pᵀ dL/dO
        dL/dp_ij = sum_e dL/do_ie v_je                      dL/dP = dL/dO Vᵀ
        dL/ds_ij = p_ij (dL/dp_ij - sum_m p_im dL/dp_im)    since dp_im/ds_ij = p_im ([m = j] - p_ij)
        dL/dq_id = sum_j dL/ds_ij k_jd / sqrt(D)            dL/dQ = dL/dS K / sqrt(D)
        dL/dk_jd = sum_i dL/ds_ij q_id / sqrt(D)            dL/dK = dL/dSᵀ Q / sqrt(D)

    Where the mask hides a key, p and so dL/ds is 0. All heads of a group read the same key and value: their gradients
    add up.

    Parameters
    ----------
    grad_output : (N, heads, T, E)
    query, key, value, causal : as in `scaled_dot_product_attention`

    Returns
    -------
    grad_query : (N, heads, T, D)
    grad_key : (N, groups, S, D)
    grad_value : (N, groups, S, E)

    Raises
    ------
    ValueError
        As `scaled_dot_product_attention`.
    """
    _check(query, key, value)
    grad_output, query = _group(grad_output, key), _group(query, key)
    weights = _weights(query, key, causal)

    grad_value = (weights.swapaxes(-1, -2) @ grad_output).sum(axis=2)
    grad_weights = grad_output @ value[:, :, np.newaxis].swapaxes(-1, -2)
    grad_scores = weights * (grad_weights - (weights * grad_weights).sum(axis=-1, keepdims=True))
    grad_query = grad_scores @ key[:, :, np.newaxis] / _root(query)
    grad_key = (grad_scores.swapaxes(-1, -2) @ query).sum(axis=2) / _root(query)
    return _join(grad_query), grad_key, grad_value


def _weights(query: Array, key: Array, causal: bool) -> Array:
    """Return P (N, groups, heads / groups, T, S), each row of which sums to 1."""
    scores = query @ key[:, :, np.newaxis].swapaxes(-1, -2) / _root(query)
    if causal:
        scores = np.where(np.tri(*scores.shape[-2:], dtype=np.bool_), scores, -np.inf)
    return softmax(scores)


def _root(query: Array) -> np.floating:
    """Return sqrt(D), in the precision of the query."""
    return np.sqrt(query.dtype.type(query.shape[-1]))


def _group(x: Array, key: Array) -> Array:
    """View (N, heads, T, D) as (N, groups, heads / groups, T, D)."""
    return x.reshape(len(x), key.shape[1], -1, *x.shape[2:])


def _join(x: Array) -> Array:
    """View (N, groups, heads / groups, T, D) as (N, heads, T, D)."""
    return x.reshape(len(x), -1, *x.shape[3:])


def _check(query: Array, key: Array, value: Array) -> None:
    shapes = f"query {query.shape}, key {key.shape}, value {value.shape}"
    if not query.ndim == key.ndim == value.ndim == 4:
        raise ValueError(f"attention: expected (N, heads, T, D) each, got {shapes}")
    if len(query) != len(key) or query.shape[3] != key.shape[3] or key.shape[:3] != value.shape[:3]:
        raise ValueError(f"attention: the shapes do not fit together: {shapes}")
    if query.shape[1] % key.shape[1]:
        raise ValueError(f"attention: {key.shape[1]} heads of key and value do not divide {query.shape[1]} of query")
