"""Order: sort, topk, unique and their kin, through NumPy's sorts; gradients go back to where the values came from."""

from typing import NamedTuple

import numpy as np

from kernelgrad.core import Array, Function, as_numpy, float32, from_numpy, kernel, move, zeros
from kernelgrad.core import contiguous as plain_contiguous
from kernelgrad.core.views import normalize_dim, reshape
from kernelgrad.ops.gathering import around, checked_index

__all__ = [
    "argsort",
    "bincount",
    "bucketize",
    "kthvalue",
    "msort",
    "searchsorted",
    "sort",
    "topk",
    "unique",
    "unique_consecutive",
]

_scatter_add = kernel("scatter_add_forward")


class ValuesAndIndices(NamedTuple):
    """What sort, topk and kthvalue return."""

    values: Array
    indices: Array


class Pick(Function):
    """Values of x at positions that `order(array)` finds along `dim`; backward scatters to these positions."""

    @staticmethod
    def forward(ctx, x, dim, order):
        a = as_numpy(move(x, "cpu"))
        positions = np.ascontiguousarray(order(a), dtype=np.int64)
        values = from_numpy(np.ascontiguousarray(np.take_along_axis(a, positions, dim)))
        indices = move(from_numpy(positions), x.device)
        ctx.save_for_backward(indices)
        ctx.dim, ctx.shape, ctx.dtype = dim, x.shape, x.dtype
        ctx.mark_non_differentiable(indices)
        return move(values, x.device), indices

    @staticmethod
    def backward(ctx, grad_values, grad_indices):
        (indices,) = ctx.saved_tensors
        grad_x = zeros(ctx.shape, ctx.dtype, grad_values.device)
        if indices.numel():
            outer, inner = around(ctx.shape, ctx.dim)
            _scatter_add(
                (plain_contiguous(grad_values), indices, grad_x),
                (outer, indices.shape[ctx.dim], ctx.shape[ctx.dim], inner),
            )
        return grad_x, None, None


def picked(input, dim, order):
    if input.dtype.numpy is None:
        raise NotImplementedError(f"sort: {input.dtype} is not supported; convert with .float()")
    if input.ndim == 0:
        values, indices = Pick.apply(reshape(input, (1,)), 0, order)
        return ValuesAndIndices(reshape(values, ()), reshape(indices, ()))
    return ValuesAndIndices(*Pick.apply(input, dim, order))


def descending_order(a, dim, kind="stable"):
    """Positions from largest to smallest, nan first, equal elements in order of position."""
    n = a.shape[dim]
    backward = np.flip(np.argsort(np.flip(a, dim), axis=dim, kind=kind), dim)
    return n - 1 - backward


def sort(input, dim=-1, descending=False, stable=False):
    """The elements along `dim` in order, and where they were.

    Returns
    -------
    (values, indices) as a named tuple. nan counts as the largest number. Equal elements keep their order, `stable` or
    not.
    """
    dim = normalize_dim(dim, input.ndim)
    if descending:
        return picked(input, dim, lambda a: descending_order(a, dim))
    return picked(input, dim, lambda a: np.argsort(a, axis=dim, kind="stable"))


def argsort(input, dim=-1, descending=False, stable=False):
    """The indices of `sort`."""
    return sort(input, dim, descending, stable).indices


def msort(input):
    """`sort` along the first dimension; the values only."""
    return sort(input, 0).values


def topk(input, k, dim=-1, largest=True, sorted=True):
    """The k largest (or smallest) elements along `dim`, in order, and where they were, as a named tuple."""
    dim = normalize_dim(dim, input.ndim)
    n = input.shape[dim] if input.ndim else 1
    if not 0 <= k <= n:
        raise RuntimeError(f"selected index k out of range: topk got k={k} for dimension {dim} of size {n}")

    def order(a):
        if largest:  # the k first of the descending order; partition saves sorting the rest
            near = np.argpartition(-a if a.dtype.kind == "f" else ~a, k - 1, axis=dim) if 0 < k < n // 8 else None
        else:
            near = np.argpartition(a, k - 1, axis=dim) if 0 < k < n // 8 else None
        if near is None or (a.dtype.kind == "f" and np.isnan(a).any()):
            all_positions = descending_order(a, dim) if largest else np.argsort(a, axis=dim, kind="stable")
            return np.take(all_positions, np.arange(k), axis=dim)
        near = np.sort(np.take(near, np.arange(k), axis=dim), axis=dim)
        part = np.take_along_axis(a, near, dim)
        inner = descending_order(part, dim) if largest else np.argsort(part, axis=dim, kind="stable")
        return np.take_along_axis(near, inner, dim)

    return picked(input, dim, order)


def kthvalue(input, k, dim=-1, keepdim=False):
    """The k-th smallest element (k counts from 1) along `dim`, and where it was, as a named tuple."""
    dim = normalize_dim(dim, input.ndim)
    n = input.shape[dim] if input.ndim else 1
    if not 1 <= k <= n:
        raise RuntimeError(f"kthvalue(): selected number k out of range for dimension {dim}: k={k}, size {n}")
    found = picked(input, dim, lambda a: np.take(np.argsort(a, axis=dim, kind="stable"), [k - 1], axis=dim))
    if keepdim or input.ndim == 0:
        return found
    shape = (*input.shape[:dim], *input.shape[dim + 1 :])
    return ValuesAndIndices(reshape(found.values, shape), reshape(found.indices, shape))


def _host(x):
    return as_numpy(move(plain_contiguous(x), "cpu"))


def unique(input, sorted=True, return_inverse=False, return_counts=False, dim=None):
    """The distinct elements (or slices of `dim`) in ascending order; optionally where each went, and how often each
    came."""
    values, inverse, counts = np.unique(_host(input), return_inverse=True, return_counts=True, axis=dim)
    if dim is None:
        inverse = inverse.reshape(input.shape)
    return distinct(
        values, inverse.astype(np.int64), counts.astype(np.int64), return_inverse, return_counts, input.device
    )


def unique_consecutive(input, return_inverse=False, return_counts=False, dim=None):
    """`input` (flattened without `dim`) with runs of equal neighbours made one."""
    a = _host(input)
    flat = (
        a.reshape(-1, 1)
        if dim is None
        else np.moveaxis(a, dim, 0).reshape(a.shape[dim], a.size // max(a.shape[dim], 1))
    )
    first = np.ones(len(flat), bool)
    first[1:] = (flat[1:] != flat[:-1]).any(axis=1)
    starts = np.flatnonzero(first)
    values = a.reshape(-1)[starts] if dim is None else np.take(a, starts, axis=dim)
    inverse = (np.cumsum(first) - 1).astype(np.int64)
    counts = np.diff(np.append(starts, len(flat))).astype(np.int64)
    return distinct(
        values,
        inverse.reshape(a.shape) if dim is None else inverse,
        counts,
        return_inverse,
        return_counts,
        input.device,
    )


def distinct(values, inverse, counts, return_inverse, return_counts, device):
    found = [values] + [inverse] * bool(return_inverse) + [counts] * bool(return_counts)
    found = tuple(move(from_numpy(np.asarray(f, order="C")), device) for f in found)
    return found if len(found) > 1 else found[0]


def bincount(input, weights=None, minlength=0):
    """How often each of 0, 1, 2 .. comes in a vector of integers; with `weights`, the sum of their weights."""
    if input.ndim != 1 or input.dtype.is_floating_point:
        raise RuntimeError("bincount only supports 1-d non-negative integral inputs.")
    a = _host(input)
    if a.size and a.min() < 0:
        raise RuntimeError("bincount only supports 1-d non-negative integral inputs.")
    counts = np.bincount(a, None if weights is None else _host(weights), minlength)
    if weights is not None and weights.dtype is float32:
        counts = counts.astype(np.float32)
    return move(from_numpy(counts), input.device)


def searchsorted(sorted_sequence, input, *, out_int32=False, right=False, side=None, sorter=None):
    """Where each element of `input` would go in a sorted vector (or row by row) to keep it sorted.

    Parameters
    ----------
    sorted_sequence : Tensor of shape (n,) or (*, n)
    input : Tensor of any shape for a vector, else (*, m); or a number
    right, side : after elements that are equal (``right=True``, ``side="right"``), or before them
    sorter : int64 Tensor of the shape of `sorted_sequence`, its argsort, where that is not sorted itself
    out_int32 : return int32 in place of int64
    """
    if side not in (None, "left", "right"):
        raise RuntimeError(f"searchsorted(): side can only be 'left' or 'right' but got {side}")
    if right and side == "left":
        raise RuntimeError(
            "searchsorted(): side and right can't be set to opposites, got side of left while right was True"
        )
    side = side or ("right" if right else "left")
    values = _host(input) if isinstance(input, Array) else np.asarray(input)
    rows = _host(sorted_sequence)
    if rows.ndim == 0:
        raise RuntimeError("searchsorted(): boundaries tensor should have positive dimension, but got 0 dimension")
    if sorter is not None:
        if sorter.shape != sorted_sequence.shape:
            raise RuntimeError(
                f"searchsorted(): boundary and sorter must have the same size, but got boundary tensor "
                f"{list(rows.shape)} and got sorter tensor {list(sorter.shape)}"
            )
        rows = np.take_along_axis(rows, _host(checked_index(sorter, rows.shape[-1], dim=rows.ndim - 1)), -1)
    if rows.ndim == 1:
        found = np.searchsorted(rows, values, side)
    else:
        if rows.shape[:-1] != values.shape[:-1]:
            raise RuntimeError(
                "searchsorted(): boundaries tensor should be 1 dimension or the "
                "first "
                "N-1 "
                "dimensions "
                "of boundaries tensor and input value "
                "tensor must match, but we got boundaries "
                "tensor "
                f"{list(rows.shape)} "
                "and "
                "input "
                "value "
                f"tensor {list(values.shape)}"
            )
        found = np.empty(values.shape, np.int64)
        for i in np.ndindex(rows.shape[:-1]):
            found[i] = np.searchsorted(rows[i], values[i], side)
    return move(from_numpy(np.asarray(found, np.int32 if out_int32 else np.int64)), sorted_sequence.device)


def bucketize(input, boundaries, *, out_int32=False, right=False):
    """Index of the bucket, between sorted `boundaries`, of each element."""
    return searchsorted(boundaries, input, out_int32=out_int32, right=right)
