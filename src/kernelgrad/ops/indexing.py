"""``x[index]`` and ``x[index] = value``, with PyTorch's rules, and masks.

Ints, slices, None and Ellipsis give views (core/slicing.pyx). With an index tensor, list or mask among them the basic
part is taken first, as a view; the rest is one gather of rows, `TakeRows`, whose gradient adds up duplicates in order.
"""

import math
import operator

import numpy as np

from kernelgrad.core import (
    Array,
    Function,
    as_numpy,
    bool_,
    bump_version,
    check_writable,
    copy,
    copy_,
    fill_,
    from_numpy,
    full,
    is_grad_enabled,
    move,
    sum_to_shape,
    to_dtype,
    uint8,
)
from kernelgrad.core.slicing import index_basic
from kernelgrad.core.views import contiguous, expand, normalize_dim, permute, reshape
from kernelgrad.ops.gathering import TakeRows, checked_index, index_add, scatter, scatter_add
from kernelgrad.ops.masks import masked_fill
from kernelgrad.ops.rearranging import copied

__all__ = [
    "getitem",
    "index_add_",
    "index_copy",
    "index_copy_",
    "index_fill",
    "index_fill_",
    "index_put",
    "index_put_",
    "scatter_",
    "scatter_add_",
    "select_scatter",
    "setitem",
    "slice_scatter",
    "take",
]

_ALL = slice(None)


def getitem(x, index):
    """``x[index]``: a view for ints, slices, None and Ellipsis, a copy where index tensors, lists or masks take
    part."""
    y = index_basic(x, index)
    return take_at(x, index) if y is None else y


# ---- Reading an index ----


def index_array(item):
    """A list, NumPy array or Array as an index Array (integers) or mask (bool)."""
    if isinstance(item, Array):
        if item.dtype.is_floating_point:
            raise IndexError(f"tensors used as indices must be long, int, byte or bool tensors, got {item.dtype}")
        return item
    a = np.asarray(item)
    if a.size == 0 and a.dtype.kind == "f":
        a = a.astype(np.int64)
    if a.dtype.kind not in "iub":
        raise IndexError(
            "only integers, slices (`:`), ellipsis (`...`), None and long or byte Variables are valid indices "
            f"(got {type(item).__name__})"
        )
    return from_numpy(np.ascontiguousarray(a if a.dtype.kind == "b" else a.astype(np.int64, copy=False)))


def is_mask(a):
    return a.dtype is bool_ or a.dtype is uint8


def parse(x, index):
    """Split an index: the view of x by its basic part, and {dimension of the view: Array of indices}, not yet
    checked."""
    items = [
        i if i is None or i is Ellipsis or type(i) in (int, slice) else plain_item(i)
        for i in (index if type(index) is tuple else (index,))
    ]
    used = sum(
        a.ndim if isinstance(a, Array) and is_mask(a) else not (a is None or a is Ellipsis or type(a) is bool)
        for a in items
    )
    if used > x.ndim:
        raise IndexError(f"too many indices for tensor of dimension {x.ndim}")
    if sum(a is Ellipsis for a in items) > 1:
        raise IndexError("an index can only have a single ellipsis ('...')")
    if not any(a is Ellipsis for a in items):
        items.append(Ellipsis)
    basic, advanced = [], {}
    at = source = 0  # dimension of the view, of x
    for item in items:
        if item is None:
            basic.append(None)
            at += 1
        elif item is Ellipsis:
            basic += [_ALL] * (x.ndim - used)
            at += x.ndim - used
            source += x.ndim - used
        elif type(item) is bool:  # a new dimension, kept (size 1) or emptied
            basic.append(None)
            advanced[at] = from_numpy(np.zeros(int(item), np.int64))
            at += 1
        elif not isinstance(item, Array):
            basic.append(item)
            at += type(item) is slice
            source += 1
        elif is_mask(item):
            if item.ndim == 0:
                basic.append(None)
                advanced[at] = from_numpy(np.zeros(int(bool(item.item())), np.int64))
                at += 1
                continue
            for d in range(item.ndim):
                if item.shape[d] != x.shape[source + d]:
                    raise IndexError(
                        f"The shape of the mask {list(item.shape)} at index {d} does not "
                        "match "
                        "the "
                        "shape of the indexed tensor "
                        f"{list(x.shape)} at index {source + d}"
                    )
            for positions in np.nonzero(as_numpy(move(item, "cpu"))):
                basic.append(_ALL)
                advanced[at] = from_numpy(positions)
                at += 1
                source += 1
        else:
            basic.append(_ALL)
            advanced[at] = item
            at += 1
            source += 1
    return index_basic(x, tuple(basic)), advanced


def plain_item(item):
    """An int for whatever is one integer, else an index Array (a Python bool stays)."""
    if type(item) is bool:
        return item
    if isinstance(item, np.bool_):
        return bool(item)
    if isinstance(item, slice):
        return slice(*(None if e is None else int(e) for e in (item.start, item.stop, item.step)))
    if hasattr(item, "__index__") and getattr(item, "ndim", 0) == 0 and not isinstance(item, Array):
        return item.__index__()
    a = index_array(item)
    return int(a.item()) if a.ndim == 0 and not is_mask(a) else a


def flat_positions(shape, advanced):
    """Checked positions over the indexed dimensions flattened, as one Array, and the broadcast shape of the indices."""
    dims = list(advanced)
    if len(dims) == 1:
        index = advanced[dims[0]]
        return checked_index(index, shape[dims[0]], dim=dims[0], wrap=True), index.shape
    checked = [as_numpy(checked_index(advanced[d], shape[d], dim=d, wrap=True)) for d in dims]
    try:
        common = np.broadcast_shapes(*(a.shape for a in checked))
    except ValueError:
        shapes = ", ".join(str(list(a.shape)) for a in checked)
        raise IndexError(
            f"shape mismatch: indexing tensors could not be broadcast together with shapes {shapes}"
        ) from None
    flat = 0
    for d, a in zip(dims, checked, strict=True):
        flat = flat * shape[d] + a
    return from_numpy(np.ascontiguousarray(np.broadcast_to(flat, common))), common


# ---- Taking ----


def take_at(x, index):
    """x[index] where index holds at least one tensor, list or mask."""
    v, advanced = parse(x, index)
    dims = list(advanced)
    if not dims:  # 0-d index tensors, which are ints
        return v
    first, count = dims[0], len(dims)
    if first == 0 and count == 1 and v.ndim == 4 and v.is_channels_last() and not v.is_contiguous():
        # rows of a batch in NHWC memory: taken as they lie, the result keeps the layout
        taken = take_adjacent(permute(v, (0, 2, 3, 1)), advanced, 0, 1)
        nd = taken.ndim
        return permute(taken, (*range(nd - 3), nd - 1, nd - 3, nd - 2))
    if (
        dims[-1] != first + count - 1
    ):  # indexed dimensions apart from each other: the result's index dimensions come first
        rest = [d for d in range(v.ndim) if d not in advanced]
        v = permute(v, dims + rest)
        return take_adjacent(v, dict(enumerate(advanced.values())), 0, count)
    return take_adjacent(v, advanced, first, count)


def take_adjacent(v, advanced, first, count):
    positions, index_shape = flat_positions(v.shape, advanced)
    if v.is_cuda:
        positions = move(positions, "cuda")
    shape = v.shape
    outer, rows = math.prod(shape[:first]), math.prod(shape[first : first + count])
    out_shape = (*shape[:first], *index_shape, *shape[first + count :])
    return TakeRows.apply(contiguous(v), positions, outer, rows, math.prod(shape[first + count :]), out_shape)


# ---- Setting ----


def setitem(x, index, value):
    """``x[index] = value``, in place; `value` (a number or Tensor) broadcasts to the indexed part.

    Recorded when x or value wants a gradient. RuntimeError for a leaf that requires grad; NotImplementedError for a
    view inside a graph.
    """
    check_writable(x, "setitem")
    if (
        isinstance(value, Array)
        and is_grad_enabled()
        and (x.requires_grad or value.requires_grad)
        and x.dtype.is_floating_point
    ):
        if x._is_view:
            raise NotImplementedError(
                "setitem: assigning into a view that becomes part of a "
                "graph "
                "is "
                "not "
                "supported; "
                "assign to the tensor it views"
            )
        SetItem.apply(x, value, index)
    elif x.requires_grad and is_grad_enabled():
        SetItem.apply(x, full((), value, x.dtype, x.device), index)
    else:
        put(x, index, value)


class SetItem(Function):
    @staticmethod
    def forward(ctx, x, value, index):
        ctx.index, ctx.value_shape, ctx.value_dtype = index, value.shape, value.dtype
        put(x, index, value)
        ctx.mark_dirty(x)
        return x

    @staticmethod
    def backward(ctx, grad_out):
        grad_x = grad_value = None
        if ctx.needs_input_grad[0]:
            grad_x = copy(grad_out)
            put(grad_x, ctx.index, 0)
        if ctx.needs_input_grad[1]:
            part = getitem(grad_out, ctx.index)
            while part.ndim < len(ctx.value_shape):  # the value had extra leading dimensions of size 1
                part = reshape(part, (1, *part.shape))
            grad_value = to_dtype(sum_to_shape(part, ctx.value_shape), ctx.value_dtype)
        return grad_x, grad_value, None


def put(x, index, value):
    """x[index] = value without graph."""
    part = index_basic(x, index)
    if part is None:
        v, advanced = parse(x, index)
        if advanced:
            put_at(v, advanced, value)
            return
        part = v
    if not isinstance(value, Array) or value.ndim == 0:
        number = value.item() if isinstance(value, Array) else value
        if not isinstance(number, (int, float)):
            number = np.asarray(number)
            if number.ndim:
                put(x, index, from_numpy(np.ascontiguousarray(number)))
                return
            number = number.item()
        fill_(part, number)
        return
    copy_(part, matched(value, part, part.shape))


def matched(value, x, shape):
    """`value` in x's dtype and device, broadcast to `shape`, and not overlapping x."""
    value = to_dtype(value, x.dtype)
    while value.ndim > len(shape) and value.shape[0] == 1:
        value = reshape(value, value.shape[1:])
    try:
        value = expand(value, shape)
    except RuntimeError:
        raise RuntimeError(
            "shape mismatch: value tensor of shape "
            f"{list(value.shape)} "
            "cannot "
            "be "
            "broadcast "
            "to "
            f"indexing result of shape {list(shape)}"
        ) from None
    return copy(value) if value.shares_storage(x) else move(value, x.device)


def put_at(v, advanced, value):
    """v[index tensors] = value, on the CPU through NumPy; of equal indices the last one stays."""
    if v.is_cuda:
        raise NotImplementedError(
            "setitem: index tensors and masks on a cuda tensor are not supported; use torch-style where() or scatter()"
        )
    dims = list(advanced)
    arrays = {d: as_numpy(checked_index(advanced[d], v.shape[d], dim=d, wrap=True)) for d in dims}
    try:
        common = np.broadcast_shapes(*(a.shape for a in arrays.values()))
    except ValueError:
        shapes = ", ".join(str(list(a.shape)) for a in arrays.values())
        raise IndexError(
            f"shape mismatch: indexing tensors could not be broadcast together with shapes {shapes}"
        ) from None
    target = as_numpy(v)
    key = tuple(arrays.get(d, _ALL) for d in range(v.ndim))
    if isinstance(value, Array) and value.ndim:
        first = dims[0] if dims[-1] == dims[0] + len(dims) - 1 else 0
        rest = [n for d, n in enumerate(v.shape) if d not in advanced]
        target[key] = as_numpy(matched(value, v, (*rest[:first], *common, *rest[first:])))
    else:
        number = value.item() if isinstance(value, Array) else value
        target[key] = as_numpy(full((), number, v.dtype))
    bump_version(v)


def index_put(input, indices, values, accumulate=False):
    """A copy of `input` with ``out[indices] = values``; with `accumulate` they are added, duplicates too, in order."""
    out = contiguous(input)
    out = copied(input) if out is input else out
    if not accumulate:
        setitem(out, tuple(indices), values)
        return out
    v, advanced = parse(out, tuple(indices))
    dims = list(advanced)
    order = dims + [d for d in range(v.ndim) if d not in advanced]
    positions, common = flat_positions(v.shape, advanced)
    shape = v.shape
    rest = [shape[d] for d in order[len(dims) :]]
    rows = reshape(permute(v, order), (math.prod(shape[d] for d in dims), *rest))
    first = dims[0] if dims[-1] == dims[0] + len(dims) - 1 else 0
    n = len(common)
    values = expand(values, (*shape[:first], *common, *rest[first:]))
    values = permute(values, (*range(first, first + n), *range(first), *range(first + n, values.ndim)))
    added = index_add(rows, 0, reshape(positions, (-1,)), reshape(values, (-1, *rest)))
    back = [order.index(d) for d in range(v.ndim)]
    return contiguous(permute(reshape(added, tuple(shape[d] for d in order)), back))


class SliceScatter(Function):
    """A copy of x with a basic-indexed part replaced."""

    @staticmethod
    def forward(ctx, x, src, index):
        ctx.index = index
        out = copy(x)
        put(out, index, src)
        return out

    @staticmethod
    def backward(ctx, grad_out):
        grad_x = copy(grad_out)
        put(grad_x, ctx.index, 0)
        return grad_x, getitem(grad_out, ctx.index), None


def replaced(x, index, src):
    """A copy of `x` with ``out[index] = src`` for a basic index."""
    part = index_basic(x, index)
    if part.shape != src.shape:
        raise RuntimeError(
            f"expected src to have a size equal to the slice of self. src size = {list(src.shape)}, slice size = "
            f"{list(part.shape)}"
        )
    return SliceScatter.apply(x, to_dtype(src, x.dtype), index)


def slice_scatter(input, src, dim=0, start=None, end=None, step=1):
    """A copy of `input` in which the slice ``start:end:step`` of `dim` is `src`. Backward keeps nothing."""
    dim = normalize_dim(dim, input.ndim)
    return replaced(input, (*(_ALL,) * dim, slice(start, end, step)), src)


def select_scatter(input, src, dim, index):
    """A copy of `input` in which slice `index` of `dim` is `src`. Backward keeps nothing."""
    dim = normalize_dim(dim, input.ndim)
    return replaced(input, (*(_ALL,) * dim, operator.index(index)), src)


# ---- Slices by index ----


def index_fill(input, dim, index, value):
    """A copy of `input` with `value` in the slices of `dim` that `index` names."""
    if input.ndim == 0:
        return reshape(index_fill(reshape(input, (1,)), dim, index, value), ())
    dim = normalize_dim(dim, input.ndim)
    hit = np.zeros(input.shape[dim], bool)
    hit[as_numpy(checked_index(index, input.shape[dim], dim=dim, wrap=True))] = True
    mask = from_numpy(hit.reshape([-1 if d == dim else 1 for d in range(input.ndim)]))
    return masked_fill(input, move(mask, input.device), value)


def take(input, index):
    """Elements of the flattened `input` at `index`, in the shape of `index`."""
    flat = reshape(input, (-1,))
    return reshape(getitem(flat, reshape(index, (-1,))), index.shape)


def index_copy(input, dim, index, source):
    """A copy of `input` with the slices of `dim` that `index` names taken from `source`; the last of equals stays."""
    if input.ndim == 0:
        rows = reshape(source, (1,)) if source.ndim == 0 else source
        return reshape(index_copy(reshape(input, (1,)), dim, index, rows), ())
    dim = normalize_dim(dim, input.ndim)
    expected = (*input.shape[:dim], index.numel(), *input.shape[dim + 1 :])
    if source.shape != expected:
        raise RuntimeError(
            f"index_copy_(): source has shape {tuple(source.shape)}, expected {expected} for {index.numel()} indices"
        )
    out = copied(input)
    setitem(out, (*(_ALL,) * dim, index), source)
    return out


# ---- The in-place forms ----


class Assign(Function):
    """x becomes new, in place and in the graph."""

    @staticmethod
    def forward(ctx, x, new):
        ctx.mark_dirty(x)
        return copy_(x, new)

    @staticmethod
    def backward(ctx, grad_out):
        return None, grad_out


def in_place(op):
    def method(input, *args, **kwargs):
        check_writable(input, op.__name__)
        new = op(input, *args, **kwargs)
        if not new.requires_grad:
            return copy_(input, new)
        if input._is_view:
            raise NotImplementedError(
                f"{op.__name__}_: changing a view that becomes part of a graph is not supported; use {op.__name__}"
            )
        return Assign.apply(input, new)

    method.__name__ = method.__qualname__ = op.__name__ + "_"
    method.__doc__ = f"`{op.__name__}` in place; returns the tensor."
    return method


scatter_, scatter_add_, index_add_ = in_place(scatter), in_place(scatter_add), in_place(index_add)
index_fill_, index_copy_, index_put_ = in_place(index_fill), in_place(index_copy), in_place(index_put)
