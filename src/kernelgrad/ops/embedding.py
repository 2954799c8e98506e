"""Embedding tables: rows of a weight matrix by index, bags of them, and one-hot vectors."""

import numpy as np

from kernelgrad.core import (
    Array,
    Function,
    as_numpy,
    bump_version,
    empty,
    fill_,
    from_numpy,
    int32,
    int64,
    kernel,
    move,
    zeros,
)
from kernelgrad.core import contiguous as plain_contiguous
from kernelgrad.core.selecting import Embedding as EmbeddingOp
from kernelgrad.core.views import contiguous, reshape, unsqueeze
from kernelgrad.ops.gathering import add_rows, checked_index, index_add, saved_index

__all__ = ["embedding", "embedding_bag", "one_hot"]

_rows = kernel("embedding_forward")


class Embedding(Function):
    """out[i] = weight[index[i]]. Backward sorts the indices and adds each touched row once, in order of position."""

    @staticmethod
    def forward(ctx, weight, index, padding_idx, by_frequency):
        ctx.save_for_backward(index)
        ctx.shape, ctx.dtype, ctx.padding_idx, ctx.by_frequency = weight.shape, weight.dtype, padding_idx, by_frequency
        rows, size = weight.shape
        out = empty((*index.shape, size), weight.dtype, weight.device)
        if out.numel():
            _rows((weight, index, out), (index.numel(), index.numel(), rows, size))
        return out

    @staticmethod
    def backward(ctx, grad_out):
        rows, size = ctx.shape
        index = saved_index(ctx, rows)
        grad_weight = zeros(ctx.shape, ctx.dtype, grad_out.device)
        add_rows(grad_weight, plain_contiguous(grad_out), index, 1, rows, size)
        if ctx.by_frequency:
            times = np.bincount(as_numpy(move(index, "cpu")).reshape(-1), minlength=rows)
            as_numpy(grad_weight)[...] /= np.maximum(times, 1)[:, None]
            bump_version(grad_weight)
        if ctx.padding_idx is not None:
            fill_(row_of(grad_weight, ctx.padding_idx), 0.0)
        return grad_weight, None, None, None


def row_of(x, i):
    from kernelgrad.core.views import select

    return select(x, 0, i)


def checked_table(op, input, weight, padding_idx, max_norm, sparse):
    """The arguments' checks in common; returns padding_idx counted from 0."""
    if not isinstance(input, Array) or not isinstance(weight, Array):
        raise TypeError(
            f"{op}(): expected tensors for input and weight, got {type(input).__name__} and {type(weight).__name__}"
        )
    if weight.ndim != 2:
        raise RuntimeError(f"{op}: 'weight' must be 2-D, got shape {tuple(weight.shape)}")
    if input.dtype is not int64 and input.dtype is not int32:
        raise RuntimeError(
            "Expected tensor for argument #1 'indices' to have one "
            "of "
            "the "
            "following "
            "scalar "
            "types: "
            f"Long, Int; but got {input.dtype}"
        )
    if max_norm is not None:
        raise NotImplementedError(f"{op}: max_norm is not supported; renormalize the weight before the call")
    if sparse:
        raise NotImplementedError(f"{op}: sparse gradients are not supported; use sparse=False")
    if padding_idx is None:
        return None
    rows = weight.shape[0]
    if not -rows <= padding_idx < rows:
        raise AssertionError("Padding_idx must be within num_embeddings")
    return padding_idx + rows if padding_idx < 0 else padding_idx


def _embedding(input, weight, padding_idx=None, max_norm=None, norm_type=2.0, scale_grad_by_freq=False, sparse=False):
    """Rows of `weight` by index: ``out[..., :] = weight[input[...]]``.

    Parameters
    ----------
    input : Tensor of shape (*), int64 or int32, values in [0, rows)
    weight : Tensor of shape (rows, E)
    padding_idx : a row that gets no gradient
    scale_grad_by_freq : divide each row's gradient by how often it was taken
    max_norm, sparse : not supported (NotImplementedError)

    Returns
    -------
    Tensor of shape (*, E), a copy. Backward keeps the indices; its gradient for `weight` is dense and the same bits
    for any number of threads.

    Raises
    ------
    IndexError
        If an index is outside [0, rows).
    """
    padding_idx = checked_table("embedding", input, weight, padding_idx, max_norm, sparse)
    index = checked_index(input, weight.shape[0], weight.device)
    return Embedding.apply(contiguous(weight), index, padding_idx, scale_grad_by_freq)


embedding = EmbeddingOp(_embedding)


def embedding_bag(
    input,
    weight,
    offsets=None,
    max_norm=None,
    norm_type=2.0,
    scale_grad_by_freq=False,
    mode="mean",
    sparse=False,
    per_sample_weights=None,
    include_last_offset=False,
    padding_idx=None,
):
    """Sums, means or maxima of bags of rows of `weight`.

    Parameters
    ----------
    input : Tensor of shape (B, n), bags of one size; or (n,) with `offsets` (B,), where each bag starts
    mode : "sum", "mean" or "max"
    per_sample_weights : factors of the rows, in the shape of `input`, for mode "sum"
    padding_idx : a row that does not count

    Returns
    -------
    Tensor of shape (B, E); an empty bag gives zeros.
    """
    if mode not in ("sum", "mean", "max"):
        raise ValueError("mode has to be one of sum, mean or max")
    if per_sample_weights is not None:
        if mode != "sum":
            raise NotImplementedError(
                "embedding_bag: per_sample_weights was not "
                "None. "
                "per_sample_weights "
                "is "
                "only "
                f"supported for mode='sum' (got mode='{mode}')."
            )
        if per_sample_weights.shape != input.shape:
            raise ValueError(
                "embedding_bag: "
                "If "
                "per_sample_weights "
                f"({tuple(per_sample_weights.shape)}) "
                "is "
                "not "
                "None, then it must have the same shape as the input "
                f"({tuple(input.shape)})"
            )
    if input.ndim == 2:
        if offsets is not None:
            raise ValueError(
                "if input is 2D, then offsets has to be None, as input is "
                "treated "
                "is "
                "a "
                "mini-batch "
                "of "
                "fixed length sequences."
            )
        bags, each = input.shape
        starts = np.arange(bags) * each
    elif input.ndim == 1:
        if offsets is None:
            raise ValueError("offsets has to be a 1D Tensor but got None")
        starts = as_numpy(move(plain_contiguous(offsets), "cpu")).reshape(-1)
        if starts.size and starts[0] != 0:
            raise ValueError(f"offsets[0] has to be 0, i.e., the first sequence starts at position 0; got {starts[0]}")
        if starts.size and (starts[-1] > input.numel() or (np.diff(starts) < 0).any()):
            raise ValueError(
                f"offsets must not decrease nor exceed the length of input ({input.numel()}), got {starts.tolist()}"
            )
        starts = starts[:-1] if include_last_offset else starts
        bags = len(starts)
    else:
        raise ValueError(f"input has to be 1D or 2D Tensor, but got Tensor of dimension {input.ndim}")
    padding = checked_table("embedding_bag", input, weight, padding_idx, max_norm, sparse)
    index = reshape(input, (-1,))
    bag = np.repeat(np.arange(bags), np.diff(np.append(starts, index.numel())))
    if padding is not None:
        kept = np.flatnonzero(as_numpy(move(index, "cpu")) != padding)
        bag = bag[kept]
        index = from_numpy(np.ascontiguousarray(as_numpy(move(index, "cpu"))[kept]))
        if per_sample_weights is not None:
            from kernelgrad.ops.gathering import index_select

            per_sample_weights = index_select(reshape(per_sample_weights, (-1,)), 0, from_numpy(kept))
    rows = embedding(index, weight, None, None, 2.0, scale_grad_by_freq)
    counts = np.bincount(bag, minlength=bags)
    if mode == "max":
        return bag_maxima(rows, counts)
    from kernelgrad.ops.elementwise import div, mul

    if per_sample_weights is not None:
        rows = mul(rows, unsqueeze(reshape(per_sample_weights, (-1,)), 1))
    total = index_add(
        zeros((bags, weight.shape[1]), weight.dtype, weight.device), 0, from_numpy(bag.astype(np.int64)), rows
    )
    if mode == "sum":
        return total
    return div(total, move(from_numpy(np.maximum(counts, 1)[:, None].astype(weight.dtype.numpy)), weight.device))


def bag_maxima(rows, counts):
    """Maxima of consecutive runs of rows: the runs padded to one length, the padding masked."""
    from kernelgrad.ops.indexing import getitem
    from kernelgrad.ops.masks import masked_fill
    from kernelgrad.ops.reduction import amax

    longest = max(int(counts.max(initial=0)), 1)
    starts = np.cumsum(counts) - counts
    place = starts[:, None] + np.minimum(
        np.arange(longest), np.maximum(counts - 1, 0)[:, None]
    )  # a run's last row fills it up
    empty_bag = move(from_numpy((counts == 0)[:, None]), rows.device)
    if rows.shape[0] == 0:
        return zeros((len(counts), rows.shape[1]), rows.dtype, rows.device)
    place[counts == 0] = 0
    return masked_fill(amax(once(getitem(rows, from_numpy(place)), counts, longest), 1), empty_bag, 0.0)


def once(padded, counts, longest):
    """-inf in the places of the padding, so that a maximum is not counted twice."""
    from kernelgrad.ops.masks import masked_fill

    mask = np.arange(longest) >= np.maximum(counts, 1)[:, None]
    return masked_fill(padded, move(from_numpy(mask[:, :, None]), padded.device), -np.inf)


def one_hot(tensor, num_classes=-1):
    """Vectors of `num_classes` zeros with a 1 at the index (int64); -1 takes the largest index plus 1."""
    if tensor.dtype is not int64:
        raise RuntimeError(f"one_hot is only applicable to index tensor of type LongTensor, got {tensor.dtype}")
    index = as_numpy(move(plain_contiguous(tensor), "cpu"))
    if index.size == 0:
        if num_classes <= 0:
            raise RuntimeError("Can not infer total number of classes from empty tensor.")
        return zeros((*tensor.shape, num_classes), int64, tensor.device)
    if index.min() < 0:
        raise RuntimeError("Class values must be non-negative.")
    if num_classes == -1:
        num_classes = int(index.max()) + 1
    if num_classes < 1:
        raise RuntimeError("num_classes should be positive")
    if index.max() >= num_classes:
        raise RuntimeError("Class values must be smaller than num_classes.")
    out = np.zeros((index.size, num_classes), np.int64)
    out[np.arange(index.size), index.reshape(-1)] = 1
    return move(from_numpy(out.reshape(*tensor.shape, num_classes)), tensor.device)
