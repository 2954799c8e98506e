"""scatter_reduce: sums, means, products and extremes of what is sent to one place."""

import numpy as np

from kernelgrad.core import Function, as_numpy, from_numpy, move, to_dtype
from kernelgrad.core.views import reshape
from kernelgrad.ops.creation import ones_like
from kernelgrad.ops.elementwise import clamp, div, eq, mul, where
from kernelgrad.ops.gathering import checked_index, fitted, gather, reach, scatter, scatter_add

__all__ = ["scatter_reduce"]

UFUNCS = {"prod": np.multiply, "amax": np.maximum, "amin": np.minimum}


class ScatterExtreme(Function):
    """The largest (smallest) of x and what is sent to its place; those that equal it share the gradient."""

    @staticmethod
    def forward(ctx, x, src, index, dim, ufunc, include_self):
        out = scattered(x, src, index, dim, ufunc, include_self)
        ctx.save_for_backward(x, src, index, out)
        ctx.dim, ctx.include_self = dim, include_self
        return out

    @staticmethod
    def backward(ctx, grad_out):
        x, src, index, out = ctx.saved_tensors
        from_self = to_dtype(eq(x, out), out.dtype)
        if not ctx.include_self:
            from_self = scatter(from_self, ctx.dim, index, 0.0)
        from_src = to_dtype(eq(src, gather(out, ctx.dim, index)), out.dtype)
        share = div(grad_out, scatter_add(from_self, ctx.dim, index, from_src))
        untouched = eq(scatter(ones_like(out), ctx.dim, index, 0.0), 1)
        grad_x = mul(from_self, share) if ctx.include_self else where(untouched, grad_out, 0.0)
        return grad_x, mul(from_src, gather(share, ctx.dim, index)), None, None, None, None


def scattered(x, src, index, dim, ufunc, include_self):
    a, b, at = np.array(as_numpy(move(x, "cpu"))), as_numpy(move(src, "cpu")), as_numpy(move(index, "cpu"))
    places = list(np.indices(at.shape, sparse=True))
    places[dim] = at
    if not include_self:
        if ufunc is np.multiply:
            a[tuple(places)] = 1
        else:
            limits = np.finfo(a.dtype) if a.dtype.kind == "f" else np.iinfo(a.dtype)
            low, high = (-np.inf, np.inf) if a.dtype.kind == "f" else (limits.min, limits.max)
            a[tuple(places)] = low if ufunc is np.maximum else high
    ufunc.at(a, tuple(places), b)
    return move(from_numpy(a), x.device)


def scatter_reduce(input, dim, index, src, reduce, *, include_self=True):
    """A copy of `input` with the elements of `src` combined into the places that `index` names, as in `scatter_add`.

    Parameters
    ----------
    reduce : "sum", "mean", "prod", "amax" or "amin"
    include_self : whether the elements of `input` take part; else they only stay where nothing is sent

    Backward of "amax" and "amin" shares the gradient evenly among equals; "prod" has none (NotImplementedError).
    """
    if reduce not in ("sum", "mean", *UFUNCS):
        raise RuntimeError(f"reduce argument must be either sum, prod, mean, amax or amin, got {reduce}.")
    if input.ndim == 0:
        x, index, src = (reshape(v, (1,)) for v in (input, index, src))
        return reshape(scatter_reduce(x, dim, index, src, reduce, include_self=include_self), ())
    if reduce in ("sum", "mean"):
        base = input if include_self else scatter(input, dim, index, 0)
        total = scatter_add(base, dim, index, src)
        if reduce == "sum":
            return total
        ones = ones_like(input)
        count = scatter_add(ones if include_self else scatter(ones, dim, index, 0), dim, index, ones_like(src))
        how = None if input.dtype.is_floating_point else "floor"
        return div(total, clamp(count, min=1), rounding_mode=how)
    if src.dtype is not input.dtype:
        raise RuntimeError(
            f"scatter(): Expected self.dtype to be equal to src.dtype, got {input.dtype} and {src.dtype}"
        )
    fitted("scatter_reduce", input, dim, index, src)
    dim %= input.ndim
    index = checked_index(index, input.shape[dim], input.device, dim)
    src = reach(src, None, index.shape)
    if reduce == "prod":
        if input.requires_grad or src.requires_grad:
            raise NotImplementedError(
                "scatter_reduce: 'prod' has no gradient here; use detach(), or logarithms and 'sum'"
            )
        return scattered(input, src, index, dim, np.multiply, include_self)
    return ScatterExtreme.apply(input, src, index, dim, UFUNCS[reduce], include_self)
