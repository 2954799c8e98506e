"""Rows of a table by index: the ops, and the bound on the rows' norms that PyTorch applies before them."""

from __future__ import annotations

from kernelgrad.core import no_grad
from kernelgrad.ops.elementwise import where
from kernelgrad.ops.embedding import embedding as take_rows
from kernelgrad.ops.embedding import embedding_bag as reduce_rows
from kernelgrad.ops.gathering import index_select
from kernelgrad.ops.sorting import unique
from kernelgrad.tensor import Tensor


def embedding(
    input: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """``weight[input]``: the row of each index. Shape: (*) of integers, (V, E) -> (*, E).

    The row `padding_idx` gets no gradient. With `max_norm`, rows looked up are first scaled down in place to that norm.
    """
    if max_norm is not None:
        _renormalize(weight, input, max_norm, norm_type)
    return take_rows(input, weight, padding_idx, None, norm_type, scale_grad_by_freq, sparse)


def embedding_bag(
    input: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """Sums, means or maxima of the rows of each bag of indices. Shape: (B, n), (V, E) -> (B, E).

    Or (n,) with `offsets` (B,), where each bag starts. `max_norm` is as for `embedding`.
    """
    if max_norm is not None:
        _renormalize(weight, input, max_norm, norm_type)
    return reduce_rows(
        input,
        weight,
        offsets,
        None,
        norm_type,
        scale_grad_by_freq,
        mode,
        sparse,
        per_sample_weights,
        include_last_offset,
        padding_idx,
    )


@no_grad()
def _renormalize(weight: Tensor, index: Tensor, max_norm: float, norm_type: float) -> None:
    """Scales the rows of `weight` that `index` names down to `max_norm`, in place."""
    chosen = unique(index.reshape(-1))
    rows = index_select(weight, 0, chosen)
    sizes = rows.norm(norm_type, 1, keepdim=True)
    weight[chosen] = rows * where(sizes > max_norm, max_norm / (sizes + 1e-7), 1.0)
