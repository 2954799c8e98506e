"""Running products, extremes and differences along a dimension. What has no kernel goes through NumPy."""

import numpy as np

from kernelgrad.core import Array, Function, as_numpy, bool_, from_numpy, int64, move, to_dtype
from kernelgrad.core.joining import cat
from kernelgrad.core.views import narrow, normalize_dim, reshape
from kernelgrad.ops.elementwise import add, div, mul, ne, sub
from kernelgrad.ops.reduction import cumsum, sum
from kernelgrad.ops.sorting import picked

__all__ = ["cummax", "cummin", "cumprod", "cumulative_trapezoid", "diff", "logcumsumexp", "trapezoid", "trapz"]


def host(x):
    return as_numpy(move(x, "cpu"))


def back(a, like):
    return move(from_numpy(np.ascontiguousarray(a)), like.device)


def from_the_end(scan, a, dim):
    return np.flip(scan(np.flip(a, dim), axis=dim), dim)


class CumProd(Function):
    """out[k] = x[0] .. x[k]. Before the first zero of a line, dx[i] = sum over k >= i of grad[k] out[k] / x[i]; at it,
    the same with 1 in its place; behind it 0."""

    @staticmethod
    def forward(ctx, x, dim):
        ctx.save_for_backward(x)
        ctx.dim = dim
        return back(np.cumprod(host(x), axis=dim), x)

    @staticmethod
    def backward(ctx, grad_out):
        (x,) = ctx.saved_tensors
        dim, a, grad = ctx.dim, host(x), host(grad_out)
        zero = a == 0
        passed = np.cumsum(zero, axis=dim)
        first = zero & (passed == 1)
        safe = np.where(zero, 1, a)
        before = from_the_end(np.cumsum, grad * np.cumprod(a, axis=dim), dim) / safe
        at = from_the_end(np.cumsum, grad * np.cumprod(np.where(first, 1, a), axis=dim), dim)
        return back(np.where(first, at, np.where(passed == 0, before, 0)).astype(a.dtype), x), None


def cumprod(input, dim, *, dtype=None):
    """Running product along `dim`; integers and bools as int64. Backward keeps x; zeros in it do no harm."""
    dim = normalize_dim(dim, input.ndim)
    if dtype is None and not input.dtype.is_floating_point:
        dtype = int64
    x = input if dtype is None else to_dtype(input, dtype)
    return CumProd.apply(x, dim) if x.ndim else mul(x, 1)


def _running(accumulate):
    def order(dim):
        def positions(a):
            best = accumulate(a, axis=dim)
            here = (a == best) | ((a != a) & (best != best))
            places = np.arange(a.shape[dim]).reshape([-1 if d == dim else 1 for d in range(a.ndim)])
            return np.maximum.accumulate(np.where(here, places, 0), axis=dim)

        return positions

    return order


_cummax, _cummin = _running(np.maximum.accumulate), _running(np.minimum.accumulate)


def cummax(input, dim):
    """(values, indices) of the largest element so far along `dim`, of equals the last; nan from the first nan on."""
    dim = normalize_dim(dim, input.ndim)
    return picked(input, dim, _cummax(dim))


def cummin(input, dim):
    """(values, indices) of the smallest element so far along `dim`, of equals the last; nan from the first nan on."""
    dim = normalize_dim(dim, input.ndim)
    return picked(input, dim, _cummin(dim))


class LogCumSumExp(Function):
    """out[k] = log(e^x[0] + .. + e^x[k]); dx[i] = e^x[i] times the sum over k >= i of grad[k] e^-out[k].

    Backward sums positive and negative upstream gradients apart, by their logarithms: e^-out would overflow.
    """

    @staticmethod
    def forward(ctx, x, dim):
        ctx.save_for_backward(x)
        ctx.dim = dim
        a = host(x)
        return back(np.logaddexp.accumulate(a.astype(np.float64), axis=dim).astype(a.dtype), x)

    @staticmethod
    def backward(ctx, grad_out):
        (x,) = ctx.saved_tensors
        a, grad = host(x).astype(np.float64), host(grad_out)
        total, parts = np.logaddexp.accumulate(a, axis=ctx.dim), []
        with np.errstate(divide="ignore", invalid="ignore"):
            for g in (grad, -grad):
                logs = np.where(g > 0, np.log(np.where(g > 0, g, 1)), -np.inf) - total
                parts.append(np.exp(from_the_end(np.logaddexp.accumulate, logs, ctx.dim) + a))
        return back((parts[0] - parts[1]).astype(grad.dtype), x), None


def logcumsumexp(input, dim):
    """Running `logsumexp` along `dim`, without overflow. Backward keeps x."""
    dim = normalize_dim(dim, input.ndim)
    return LogCumSumExp.apply(input, dim) if input.ndim else mul(input, 1)


def diff(input, n=1, dim=-1, prepend=None, append=None):
    """Differences of neighbours along `dim`, `n` times over, after joining `prepend` and `append` to it."""
    if input.ndim == 0:
        raise RuntimeError("diff expects input to be at least one-dimensional")
    if n < 0:
        raise RuntimeError(f"order must be non-negative but got {n}")
    dim = normalize_dim(dim, input.ndim)
    if n and (prepend is not None or append is not None):
        input = cat([x for x in (prepend, input, append) if x is not None], dim)
    if n == 0:
        return mul(input, 1) if input.dtype is not bool_ else ne(input, 0)
    for _ in range(n):
        size = max(input.shape[dim] - 1, 0)
        later, earlier = narrow(input, dim, min(1, input.shape[dim]), size), narrow(input, dim, 0, size)
        input = ne(later, earlier) if input.dtype is bool_ else sub(later, earlier)
    return input


def _panels(y, x, dx, dim):
    """Areas between neighbouring samples."""
    dim = normalize_dim(dim, y.ndim)
    n = y.shape[dim]
    pairs = add(narrow(y, dim, min(1, n), max(n - 1, 0)), narrow(y, dim, 0, max(n - 1, 0)))
    if not isinstance(x, Array):
        return mul(pairs, (1 if dx is None else dx) / 2), dim
    if x.ndim == 1 and y.ndim > 1:
        x = reshape(x, [-1 if d == dim else 1 for d in range(y.ndim)])
    return div(mul(pairs, diff(x, dim=dim - y.ndim)), 2), dim


def trapezoid(y, x=None, *, dx=None, dim=-1):
    """The integral of `y` along `dim` by the trapezoidal rule, at places `x` or at steps of `dx` (default 1)."""
    areas, dim = _panels(y, x, dx, dim)
    return sum(areas, dim)


def cumulative_trapezoid(y, x=None, *, dx=None, dim=-1):
    """The running integral of `y` along `dim` by the trapezoidal rule; one element less than `y`."""
    areas, dim = _panels(y, x, dx, dim)
    return cumsum(areas, dim)


trapz = trapezoid
