"""Rows and elements by index: index_select, gather, scatter and what is made of them.

Every index is checked in C before it is used; one outside raises IndexError. Sums over duplicate indices are formed in
order of position, so results do not depend on threads. Backward keeps the checked indices.
"""

import math

import numpy as np

from kernelgrad.core import (
    Array,
    Function,
    copy,
    empty,
    from_numpy,
    int32,
    int64,
    kernel,
    move,
    uint8,
    zeros,
)
from kernelgrad.core import contiguous as plain_contiguous
from kernelgrad.core.selecting import Gather as GatherOp
from kernelgrad.core.selecting import IndexSelect
from kernelgrad.core.selecting import Scatter as ScatterOp
from kernelgrad.core.selecting import add_rows as add_rows_here
from kernelgrad.core.views import contiguous, expand, narrow, normalize_dim, reshape

__all__ = [
    "gather",
    "index_add",
    "index_select",
    "scatter",
    "scatter_add",
    "take_along_dim",
]

_take = kernel("embedding_forward")
_add_rows = kernel("embedding_backward")
_order = kernel("index_order")
_normalize = kernel("normalize_index")
_gather = kernel("gather_forward")
_scatter = kernel("scatter_forward")
_scatter_add = kernel("scatter_add_forward")


def checked_index(index, size, device="cpu", dim=0, wrap=False):
    """`index` (int64 or int32) contiguous, as int64 in 0 .. size-1, on `device`; IndexError if one is outside. With
    `wrap`, negative ones count from the end."""
    if index.dtype is not int64 and index.dtype is not int32:
        if index.dtype.is_floating_point or index.dtype is not uint8:
            raise IndexError(f"tensors used as indices must be long, int, byte or bool tensors, got {index.dtype}")
        index = from_numpy(index.numpy().astype(np.int64))
    index = plain_contiguous(move(index, "cpu"))
    bad = empty((1,), int64)
    out = None if index.dtype is int64 and not wrap else empty(index.shape, int64)
    _normalize((index, out, bad), (index.numel(), size, wrap))
    at = bad.item()
    if at >= 0:
        value = index.numpy().reshape(-1)[at]
        raise IndexError(f"index {value} is out of bounds for dimension {dim} with size {size}")
    return move(index if out is None else out, device)


def saved_index(ctx, size):
    """The saved index, checked again: it may be the caller's own memory, changed through NumPy since forward."""
    (index,) = ctx.saved_tensors
    return index if index.is_cuda else checked_index(index, size)


def around(shape, dim):
    """Numbers of elements before and behind dimension `dim`."""
    return math.prod(shape[:dim]), math.prod(shape[dim + 1 :])


def add_rows(out, grad_out, index, outer, rows, inner):
    """out[o, index[i]] += grad_out[o, i] in order of i; everything contiguous, `index` checked."""
    count = index.numel()
    if count == 0 or inner == 0 or outer == 0:
        return out
    if not out.is_cuda:
        return add_rows_here(out, grad_out, index, outer, rows, inner)
    index = move(index, "cpu")
    order, starts, row_of = empty((count,), int64), empty((count + 1,), int64), empty((count,), int64)
    runs = empty((1,), int64)
    _order((index, order, starts, row_of, runs), (count, rows))
    n = runs.item()
    order, starts, row_of = move(order, "cuda"), move(starts, "cuda"), move(row_of, "cuda")
    _add_rows((grad_out, order, starts, row_of, out), (outer * n, n, count, rows, inner))
    return out


class TakeRows(Function):
    """out[o, i, :] = x[o, index[i], :] for x seen as (outer, rows, inner)."""

    @staticmethod
    def forward(ctx, x, index, outer, rows, inner, shape):
        ctx.save_for_backward(index)
        ctx.sizes, ctx.shape, ctx.dtype = (outer, rows, inner), x.shape, x.dtype
        out = empty(shape, x.dtype, x.device)
        if out.numel():
            _take((x, index, out), (outer * index.numel(), index.numel(), rows, inner))
        return out

    @staticmethod
    def backward(ctx, grad_out):
        index = saved_index(ctx, ctx.sizes[1])
        grad_x = zeros(ctx.shape, ctx.dtype, grad_out.device)
        return add_rows(grad_x, plain_contiguous(grad_out), index, *ctx.sizes), None, None, None, None, None


def _index_select(input, dim, index):
    """Slices of `input` along `dim`, in the order of `index`.

    Parameters
    ----------
    input : Tensor of shape (.., n, ..)
    dim : int
    index : Tensor of shape (m,), int64 or int32, values in [0, n)

    Returns
    -------
    Tensor of shape (.., m, ..), a copy. Backward adds up slices that were taken more than once.
    """
    if input.ndim == 0:
        return reshape(_index_select(reshape(input, (1,)), dim, index), ())
    dim = normalize_dim(dim, input.ndim)
    if not isinstance(index, Array) or index.ndim > 1:
        raise IndexError("index_select(): Index is supposed to be a vector")
    shape = input.shape
    index = checked_index(index, shape[dim], input.device, dim)
    outer, inner = around(shape, dim)
    shape = (*shape[:dim], index.numel(), *shape[dim + 1 :])
    return TakeRows.apply(contiguous(input), index, outer, input.shape[dim], inner, shape)


index_select = IndexSelect(_index_select)


class IndexAdd(Function):
    """x with rows of source, times alpha, added at index."""

    @staticmethod
    def forward(ctx, x, index, source, dim, alpha):
        ctx.save_for_backward(index)
        ctx.dim, ctx.alpha = dim, alpha
        out = copy(plain_contiguous(x))
        outer, inner = around(x.shape, dim)
        source = plain_contiguous(source)
        if alpha != 1:
            source = scaled(source, alpha)
        return add_rows(out, source, index, outer, x.shape[dim], inner)

    @staticmethod
    def backward(ctx, grad_out):
        grad_source = None
        if ctx.needs_input_grad[2]:
            grad_source = index_select(grad_out, ctx.dim, ctx.saved_tensors[0])
            if ctx.alpha != 1:
                grad_source = scaled(grad_source, ctx.alpha)
        return grad_out, None, grad_source, None, None


def scaled(x, factor):
    from kernelgrad.ops.elementwise import mul

    return mul(x, factor)


def index_add(input, dim, index, source, *, alpha=1):
    """`input` with ``alpha * source`` added to the slices of `dim` that `index` names; duplicates add up."""
    if input.ndim == 0:
        return reshape(index_add(reshape(input, (1,)), dim, index, reshape(source, (-1,)), alpha=alpha), ())
    dim = normalize_dim(dim, input.ndim)
    if index.ndim > 1:
        raise IndexError(
            f"index_add_(): Index is supposed to be a vector, but got dim: {index.ndim} with type: {index.dtype.name}"
        )
    expected = (*input.shape[:dim], index.numel(), *input.shape[dim + 1 :])
    if source.shape != expected:
        raise RuntimeError(
            f"index_add: source has shape {tuple(source.shape)}, expected {expected} for {index.numel()} indices"
        )
    if source.dtype is not input.dtype:
        raise RuntimeError(
            f"index_add_(): self ({input.dtype}) and source ({source.dtype}) must have the same scalar type"
        )
    index = checked_index(index, input.shape[dim], input.device, dim)
    return IndexAdd.apply(input, index, source, dim, alpha)


# ---- Elements: gather and scatter ----


def fitted(op, input, dim, index, src=None):
    """Check shapes; `input` narrowed to the part that `index` can reach, the checked index, and (outer, count, size,
    inner)."""
    dim = normalize_dim(dim, input.ndim)
    if index.dtype is not int64 and index.dtype is not int32 and index.numel():
        raise RuntimeError(f"{op}(): Expected dtype int32/int64 for index, got {index.dtype}")
    if index.ndim != input.ndim:
        raise RuntimeError(
            f"Index tensor must have the same number of dimensions as input tensor, got {index.ndim} and {input.ndim}"
        )
    if src is not None and src.ndim != index.ndim:
        raise RuntimeError(
            f"Index tensor must have the same number of dimensions as src tensor, got {index.ndim} and {src.ndim}"
        )
    for d in range(input.ndim):
        if d != dim and index.shape[d] > input.shape[d]:
            raise RuntimeError(
                f"Size does not match at dimension {d} expected index {list(index.shape)} to be no larger than self "
                f"{list(input.shape)} apart from dimension {dim}"
            )
        if src is not None and index.shape[d] > src.shape[d]:
            raise RuntimeError(
                f"Expected index {list(index.shape)} to be no larger than src {list(src.shape)} in every dimension, "
                f"dimension {d} is"
            )
    part = reach(input, dim, index.shape)
    index = checked_index(index, input.shape[dim], input.device, dim)
    outer, inner = around(part.shape, dim)
    return part, index, (outer, index.shape[dim], input.shape[dim], inner)


def at_least_1d(x):
    return x if x.ndim else reshape(x, (1,))


def reach(x, dim, shape):
    """`x` narrowed to `shape` in all dimensions but `dim` (None: in all)."""
    for d in range(len(shape)):
        if d != dim and x.shape[d] != shape[d]:
            x = narrow(x, d, 0, shape[d])
    return x


class Gather(Function):
    """out[o, i, j] = x[o, index[o, i, j], j]."""

    @staticmethod
    def forward(ctx, x, index, sizes):
        ctx.save_for_backward(index)
        ctx.sizes, ctx.shape, ctx.dtype = sizes, x.shape, x.dtype
        out = empty(index.shape, x.dtype, x.device)
        if out.numel():
            _gather((plain_contiguous(x), index, out), sizes)
        return out

    @staticmethod
    def backward(ctx, grad_out):
        index = saved_index(ctx, ctx.sizes[2])
        grad_x = zeros(ctx.shape, ctx.dtype, grad_out.device)
        if index.numel():
            _scatter_add((plain_contiguous(grad_out), index, grad_x), ctx.sizes)
        return grad_x, None, None


def _gathered(input, dim, index):
    """``out[i][j] = input[index[i][j]][j]`` for dim 0, and so on; `index` may be smaller than `input` in other
    dimensions.

    Backward adds up the gradients of elements that were taken more than once, in order.
    """
    part, index_, sizes = fitted("gather", at_least_1d(input), dim, at_least_1d(index))
    out = Gather.apply(part, index_, sizes)
    return out if index.ndim else reshape(out, ())


gather = GatherOp(_gathered)


class Scatter(Function):
    """A copy of x with out[o, index[o, i, j], j] = src[o, i, j], or += where `add`."""

    @staticmethod
    def forward(ctx, x, index, src, sizes, add):
        ctx.save_for_backward(index)
        ctx.sizes, ctx.add = sizes, add
        out = copy(plain_contiguous(x))
        if index.numel():
            (_scatter_add if add else _scatter)((plain_contiguous(src), index, out), sizes)
        return out

    @staticmethod
    def backward(ctx, grad_out):
        index = saved_index(ctx, ctx.sizes[2])
        grad_out = plain_contiguous(grad_out)
        grad_x = grad_src = None
        if ctx.needs_input_grad[0]:
            grad_x = grad_out
            if not ctx.add and index.numel():
                grad_x = copy(grad_out)
                _scatter((zeros(index.shape, grad_out.dtype, grad_out.device), index, grad_x), ctx.sizes)
        if ctx.needs_input_grad[2]:
            grad_src = empty(index.shape, grad_out.dtype, grad_out.device)
            if index.numel():
                _gather((grad_out, index, grad_src), ctx.sizes)
        return grad_x, None, grad_src, None, None


def _scattered(op, input, dim, index, src, add):
    if src.dtype is not input.dtype:
        raise RuntimeError(f"{op}(): Expected self.dtype to be equal to src.dtype, got {input.dtype} and {src.dtype}")
    if input.ndim == 0:
        return reshape(_scattered(op, reshape(input, (1,)), dim, index, src, add), ())
    index, src = at_least_1d(index), at_least_1d(src)
    part, index_, sizes = fitted(op, input, dim, index, src)
    new = Scatter.apply(part, index_, reach(src, None, index.shape), sizes, add)
    if part is input:
        return new
    out = contiguous(input) if not input.is_contiguous() else input  # index reaches a corner only: put it back in place
    from kernelgrad.ops.indexing import replaced

    return replaced(out, tuple(slice(0, n) for n in part.shape), new)


def _scatter_any(input, dim, index, src=None, *, value=None, reduce=None):
    """A copy of `input` with ``out[index[i][j]][j] = src[i][j]`` (dim 0), or a number `value` in place of src.

    With duplicate indices the last one stays. ``reduce="add"`` adds instead.
    """
    if src is None:
        src = value
    if src is None:
        raise TypeError("scatter() missing 1 required positional argument: 'src'")
    if not isinstance(src, Array):
        from kernelgrad.core import full

        src = full(index.shape, src, input.dtype, input.device)
    if reduce not in (None, "add"):
        raise NotImplementedError(f"scatter: reduce={reduce!r} is not supported; 'add' and None are")
    return _scattered("scatter", input, dim, index, src, reduce == "add")


def _scatter_add_any(input, dim, index, src):
    """A copy of `input` with src added at the places that `index` names; duplicates add up, in order."""
    return _scattered("scatter_add", input, dim, index, src, True)


scatter, scatter_add = ScatterOp("scatter", False, _scatter_any), ScatterOp("scatter_add", True, _scatter_add_any)


def take_along_dim(input, indices, dim=None):
    """`gather` with the other dimensions of `input` and `indices` broadcast; without `dim`, over the flattened
    input."""
    if dim is None:
        return gather(reshape(input, (-1,)), 0, reshape(indices, (-1,)))
    input, indices = at_least_1d(input), at_least_1d(indices)
    if indices.ndim != input.ndim:
        raise RuntimeError(
            f"take_along_dim(): input and indices should have the same number of dimensions, but got {input.ndim} "
            f"dimensions for input, and {indices.ndim} dimensions for indices"
        )
    dim = normalize_dim(dim, input.ndim)
    common = np.broadcast_shapes(
        tuple(1 if d == dim else n for d, n in enumerate(input.shape)),
        tuple(1 if d == dim else n for d, n in enumerate(indices.shape)),
    )
    indices = checked_index(indices, input.shape[dim], indices.device, dim, wrap=True)
    x = expand(input, tuple(input.shape[d] if d == dim else n for d, n in enumerate(common)))
    return gather(x, dim, expand(indices, tuple(indices.shape[d] if d == dim else n for d, n in enumerate(common))))
