"""Attention, composed of matrix products and softmax. Axes: L queries, S keys, E embedding."""

from __future__ import annotations

import math

from kernelgrad.ops.creation import ones
from kernelgrad.ops.matmul import matmul
from kernelgrad.ops.random import dropout
from kernelgrad.ops.softmax import softmax
from kernelgrad.tensor import Tensor


def scaled_dot_product_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """``softmax(query @ key.T * scale + mask) @ value``.

    Parameters
    ----------
    query : Tensor of shape (*, L, E)
    key, value : Tensors of shape (*, S, E) and (*, S, Ev)
    attn_mask : broadcast to (*, L, S); boolean, True where a query may look, or floating, added to the scores
    dropout_p : probability with which each weight is dropped; always in effect, so pass 0 in evaluation
    is_causal : a query looks only at keys up to its own position; excludes `attn_mask`
    scale : 1 / sqrt(E) where not given
    enable_gqa : key and value may have fewer heads (dimension -3), each serving several query heads

    Returns
    -------
    Tensor of shape (*, L, Ev). A query that may look at nothing gets nan, as in PyTorch's reference formula.

    References
    ----------
    Vaswani et al. (2017), https://arxiv.org/abs/1706.03762
    """
    if is_causal and attn_mask is not None:
        raise RuntimeError("scaled_dot_product_attention: pass attn_mask or is_causal=True, not both")
    if enable_gqa:
        heads = query.shape[-3]
        key = key.repeat_interleave(heads // key.shape[-3], -3)
        value = value.repeat_interleave(heads // value.shape[-3], -3)
    if scale is None:
        scale = 1 / math.sqrt(query.shape[-1])
    scores = matmul(query * scale, key.transpose(-2, -1))
    if is_causal:
        attn_mask = ones((query.shape[-2], key.shape[-2]), device=query.device).tril() != 0
    if attn_mask is not None:
        if attn_mask.is_floating_point():
            scores = scores + attn_mask
        else:
            scores = scores.masked_fill(attn_mask.logical_not(), -math.inf)
    weights = softmax(scores, -1)
    if dropout_p > 0:
        weights = dropout(weights, dropout_p, True)
    return matmul(weights, value)
