"""Medians, quantiles, histograms, and sums that leave out nan."""

import numpy as np

from kernelgrad.core import Array, Function, as_numpy, from_numpy, move, to_dtype
from kernelgrad.core.views import normalize_dim, reshape
from kernelgrad.ops.elementwise import add, div, eq, isnan, logical_and, logical_not, logical_or, mul, sub, where
from kernelgrad.ops.gathering import gather
from kernelgrad.ops.reduction import sum
from kernelgrad.ops.shape import movedim
from kernelgrad.ops.sorting import ValuesAndIndices, picked, sort

__all__ = ["histc", "median", "nanmean", "nanmedian", "nanquantile", "nansum", "quantile"]


def middle(a, dim, ignore_nan):
    """Position of the lower median along `dim`; of a nan, where there is one and it counts."""
    order = np.argsort(a, axis=dim, kind="stable")  # nan come last
    valid = a.shape[dim] - np.isnan(a).sum(dim, keepdims=True) if a.dtype.kind == "f" else np.array(a.shape[dim])
    k = np.maximum(valid - 1, 0) // 2
    if not ignore_nan:
        k = np.where(valid < a.shape[dim], valid, k)
    k = np.broadcast_to(k, [1 if d == dim else n for d, n in enumerate(a.shape)])
    return np.take_along_axis(order, k, dim)


class MedianOfAll(Function):
    """The lower median of all elements; those equal to it share the gradient."""

    @staticmethod
    def forward(ctx, x, ignore_nan):
        flat = as_numpy(move(x, "cpu")).reshape(-1)
        if flat.size:
            value = flat[middle(flat, 0, ignore_nan)[0]]
        else:  # as in PyTorch: nan, or the smallest integer
            value = np.nan if flat.dtype.kind == "f" else np.iinfo(flat.dtype).min
        out = move(from_numpy(np.array(value, flat.dtype)), x.device)
        ctx.save_for_backward(x, out)
        return out

    @staticmethod
    def backward(ctx, grad_out):
        x, out = ctx.saved_tensors
        chosen = to_dtype(logical_or(eq(x, out), logical_and(isnan(x), isnan(out))), x.dtype)
        return mul(chosen, div(grad_out, sum(chosen))), None


def _median(name, input, dim, keepdim, ignore_nan):
    if dim is None:
        return MedianOfAll.apply(input, ignore_nan)
    dim = normalize_dim(dim, input.ndim)
    if input.ndim and input.shape[dim] == 0:
        raise IndexError(f"{name}(): Expected reduction dim {dim} to have non-zero size.")
    found = picked(input, dim, lambda a: middle(a, dim, ignore_nan))
    if keepdim or input.ndim == 0:
        return found
    shape = (*input.shape[:dim], *input.shape[dim + 1 :])
    return ValuesAndIndices(reshape(found.values, shape), reshape(found.indices, shape))


def median(input, dim=None, keepdim=False):
    """The lower of the middle elements; with `dim` a named tuple (values, indices) along it. nan if there is one.

    All elements equal to the median of everything share its gradient; along a dimension the element named gets it.
    """
    return _median("median", input, dim, keepdim, False)


def nanmedian(input, dim=None, keepdim=False):
    """`median` of the elements that are not nan."""
    return _median("nanmedian", input, dim, keepdim, True)


_ROUND = {"lower": np.floor, "higher": np.ceil, "nearest": np.rint}


def _quantile(name, input, q, dim, keepdim, interpolation, ignore_nan):
    if interpolation not in ("linear", "midpoint", *_ROUND):
        raise RuntimeError(
            f"{name}() interpolation must be one of linear, lower, higher, midpoint or nearest, but got {interpolation}"
        )
    if not input.dtype.is_floating_point:
        raise RuntimeError(f"{name}() input tensor must be either float or double dtype, got {input.dtype}")
    if input.numel() == 0:
        raise RuntimeError(f"{name}() input tensor must be non-empty")
    shares = np.asarray(as_numpy(move(q, "cpu")) if isinstance(q, Array) else q, np.float64)
    if shares.ndim > 1 or not ((shares >= 0) & (shares <= 1)).all():
        raise RuntimeError(f"{name}() q must be a scalar or 1D tensor of values in the range [0, 1]")
    x = reshape(input, (-1,)) if dim is None else input
    at = 0 if dim is None else normalize_dim(dim, input.ndim)
    lines = sort(movedim(x, at, -1) if x.ndim else reshape(x, (1,)), -1).values  # nan come last
    a = as_numpy(move(lines.detach(), "cpu"))
    valid = a.shape[-1] - np.isnan(a).sum(-1, keepdims=True)
    rank = shares.reshape(-1) * (np.maximum(valid, 1) - 1)
    if not ignore_nan:
        rank = np.where(valid < a.shape[-1], a.shape[-1] - 1, rank)
    low, high = (np.floor(rank), np.ceil(rank)) if interpolation not in _ROUND else (_ROUND[interpolation](rank),) * 2
    weight = np.full_like(rank, 0.5) if interpolation == "midpoint" else rank - low
    below, above = (gather(lines, -1, move(from_numpy(r.astype(np.int64)), x.device)) for r in (low, high))
    if interpolation in _ROUND:
        out = below
    else:
        weight = move(from_numpy(weight.astype(a.dtype)), x.device)
        if (
            isinstance(q, Array) and q.requires_grad and interpolation == "linear"
        ):  # which moves with q, and with it alone
            slope = move(from_numpy(np.broadcast_to(valid - 1, rank.shape).astype(a.dtype)), x.device)
            still = reshape(q.detach(), (-1,))
            weight = add(weight, mul(slope, sub(reshape(q, (-1,)), still)))
        out = add(below, mul(sub(above, below), weight))
    out = movedim(out, -1, 0)  # one slice for each q
    if keepdim:
        shape = (1,) * input.ndim if dim is None else [1 if d == at else n for d, n in enumerate(input.shape)]
        out = reshape(out, (shares.size, *shape))
    else:
        out = reshape(out, (shares.size, *(n for d, n in enumerate(x.shape) if d != at)))
    return out if shares.ndim else reshape(out, out.shape[1:])


def quantile(input, q, dim=None, keepdim=False, *, interpolation="linear"):
    """The values below which shares `q` of the elements lie, along `dim` or of all; nan where there is one.

    Parameters
    ----------
    q : number, or Tensor of shape () or (m,), in [0, 1]; with (m,) the result has a first dimension of m
    interpolation : between two elements: "linear", "lower", "higher", "midpoint" or "nearest"
    """
    return _quantile("quantile", input, q, dim, keepdim, interpolation, False)


def nanquantile(input, q, dim=None, keepdim=False, *, interpolation="linear"):
    """`quantile` of the elements that are not nan."""
    return _quantile("nanquantile", input, q, dim, keepdim, interpolation, True)


def nansum(input, dim=None, keepdim=False, *, dtype=None):
    """`sum` with nan taken as 0; no gradient goes to them."""
    x = where(isnan(input), 0, input) if input.dtype.is_floating_point else input
    return sum(x, dim, keepdim, dtype=dtype)


def nanmean(input, dim=None, keepdim=False, *, dtype=None):
    """`mean` of the elements that are not nan; nan where there are none."""
    if dtype is not None:
        input = to_dtype(input, dtype)
    if not input.dtype.is_floating_point:
        raise RuntimeError(f"nanmean(): expected input to have floating point or complex dtype but got {input.dtype}")
    return div(nansum(input, dim, keepdim), sum(logical_not(isnan(input)), dim, keepdim))


def histc(input, bins=100, min=0, max=0):
    """How many elements lie in each of `bins` equal parts of [min, max], in the dtype of `input`.

    With min and max both 0 the range is that of the elements. Elements outside are not counted.
    """
    if bins <= 0:
        raise RuntimeError(f"histc: bins must be > 0, got {bins}")
    if not input.dtype.is_floating_point:
        raise NotImplementedError(f"histc: not implemented for {input.dtype}; convert with .float()")
    a = as_numpy(move(input.detach(), "cpu")).reshape(-1)
    if min == max and a.size:
        min, max = float(a.min()), float(a.max())
    if min == max:
        min, max = min - 1, max + 1
    if not (np.isfinite(min) and np.isfinite(max)):
        raise RuntimeError(f"range of [{min}, {max}] is not finite")
    if min > max:
        raise RuntimeError(f"histc: max must be larger than min, got {min} and {max}")
    counts = np.histogram(a[~np.isnan(a)], bins, (min, max))[0]
    return move(from_numpy(counts.astype(a.dtype)), input.device)
