"""Reductions over any set of dimensions. They follow the memory of the input, whatever its layout (see layouts.Grouping)."""

import builtins
import math
from typing import Any, NamedTuple

from kernelgrad.core import (
    Array,
    Function,
    bfloat16,
    bool_,
    cast,
    empty_like,
    float32,
    int64,
    kernel,
    to_dtype,
    uint8,
)
from kernelgrad.core.reductions import FullReduction
from kernelgrad.ops.layouts import Grouping, along, as_block, check_tensor, dense, read_dims

__all__ = [
    "all", "amax", "amin", "aminmax", "any", "argmax", "argmin", "count_nonzero", "cumsum", "logsumexp", "max", "mean", "min", "norm",
    "prod", "std", "std_mean", "sum", "var", "var_mean",
]  # fmt: skip

# What backward of each reduction reads beside the upstream gradient.
KEEPS = {"sum": "", "mean": "", "prod": "x", "amax": "xo", "amin": "xo", "norm": "xo", "logsumexp": "xo"}
FORWARD = {
    name: kernel(f"{name}_forward") for name in (*KEEPS, "argmax", "argmin", "any", "all", "max", "min", "var", "std")
}
BACKWARD = {
    name: kernel("amax_backward" if name == "amin" else f"{name}_backward") for name in (*KEEPS, "max", "var", "std")
}


class Reduce(Function):
    """One number for each (outer, inner). Keeps x and the result where the slope needs them."""

    @staticmethod
    def forward(ctx, x, name, dims, keepdim, dtype):
        x = dense(x)
        grouping = Grouping(x, dims)
        out, flat = grouping.new_result(dtype, x.device, keepdim)
        block = grouping.block(x)
        FORWARD[name]((block, flat), (grouping.outer, grouping.n, grouping.inner))
        ctx.name, ctx.grouping, ctx.keepdim = name, grouping, keepdim
        keeps = KEEPS.get(name, "")
        ctx.save_for_backward(*[{"x": block, "o": flat}[k] for k in keeps])
        ctx.model = None if grouping.permuted else empty_model(x)
        return grouping.finish(out, flat, keepdim)

    @staticmethod
    def backward(ctx, grad_out):
        grouping = ctx.grouping
        flat = grouping.flat_result(grad_out, ctx.keepdim)
        grad_x, block = new_gradient(ctx, flat)
        BACKWARD[ctx.name]((*ctx.saved_tensors, flat, block), (grouping.outer, grouping.n, grouping.inner))
        return grad_x, None, None, None, None


def empty_model(x):
    """What is needed to make an array laid out like x, without keeping x."""
    return x.shape, x.is_contiguous(), x.is_channels_last()


def new_gradient(ctx, flat):
    """(gradient of x, the same memory as the kernel's block)"""
    from kernelgrad.core import empty

    g = ctx.grouping
    if ctx.model is not None and (ctx.model[1] or ctx.model[2]):
        shape, contiguous, _ = ctx.model
        grad_x = empty(shape, flat.dtype, flat.device, channels_last=not contiguous)
        return grad_x, as_block(grad_x, g.outer, g.n, g.inner)
    block = empty((g.outer, g.n, g.inner), flat.dtype, flat.device)
    return g.like_input(block), block


class Moments(Function):
    """Variance or standard deviation; keeps x and the means."""

    @staticmethod
    def forward(ctx, x, name, dims, correction, keepdim):
        x = dense(x)
        grouping = Grouping(x, dims)
        out, flat = grouping.new_result(x.dtype, x.device, keepdim)
        block, mean = grouping.block(x), empty_like(flat)
        FORWARD[name]((block, mean, flat), (grouping.outer, grouping.n, grouping.inner), (correction,))
        ctx.name, ctx.grouping, ctx.keepdim, ctx.correction = name, grouping, keepdim, correction
        ctx.save_for_backward(block, mean, *([flat] if name == "std" else []))
        ctx.model = None if grouping.permuted else empty_model(x)
        return grouping.finish(out, flat, keepdim)

    @staticmethod
    def backward(ctx, grad_out):
        grouping = ctx.grouping
        flat = grouping.flat_result(grad_out, ctx.keepdim)
        grad_x, block = new_gradient(ctx, flat)
        sizes = (grouping.outer, grouping.n, grouping.inner)
        BACKWARD[ctx.name]((*ctx.saved_tensors, flat, block), sizes, (ctx.correction,))
        return grad_x, None, None, None, None


class Extremum(Function):
    """The extremum along one dimension and its index; the whole gradient goes there. Keeps the index."""

    @staticmethod
    def forward(ctx, x, name, dims, keepdim):
        x = dense(x)
        grouping = Grouping(x, dims)
        out, flat = grouping.new_result(x.dtype, x.device, keepdim)
        indices, flat_indices = grouping.new_result(int64, x.device, keepdim)
        FORWARD[name]((grouping.block(x), flat, flat_indices), (grouping.outer, grouping.n, grouping.inner))
        ctx.grouping, ctx.keepdim = grouping, keepdim
        ctx.save_for_backward(flat_indices)
        ctx.model = None if grouping.permuted else empty_model(x)
        indices = grouping.finish(indices, flat_indices, keepdim)
        ctx.mark_non_differentiable(indices)
        return ValuesAndIndices(grouping.finish(out, flat, keepdim), indices)

    @staticmethod
    def backward(ctx, grad_out, grad_indices):
        grouping = ctx.grouping
        flat = grouping.flat_result(grad_out, ctx.keepdim)
        grad_x, block = new_gradient(ctx, flat)
        BACKWARD["max"]((*ctx.saved_tensors, flat, block), (grouping.outer, grouping.n, grouping.inner))
        return grad_x, None, None, None


class Cumsum(Function):
    """Running sums along a dimension; keeps nothing."""

    @staticmethod
    def forward(ctx, x, dim):
        x = dense(x)
        out = empty_like(x)
        sizes = along(x, dim)
        kernel("cumsum_forward")((as_block(x, *sizes), as_block(out, *sizes)), sizes)
        ctx.dim, ctx.sizes = dim, sizes
        return out

    @staticmethod
    def backward(ctx, grad_out):
        grad_out = dense(grad_out)
        grad_x = empty_like(grad_out)
        sizes = along(grad_out, ctx.dim)
        kernel("cumsum_backward")((as_block(grad_out, *sizes), as_block(grad_x, *sizes)), sizes)
        return grad_x, None


class ValuesAndIndices(NamedTuple):
    """What max and min along a dimension return."""

    values: Any
    indices: Any


class MinAndMax(NamedTuple):
    min: Any
    max: Any


def through_float32(op, x, *args):
    """bfloat16 stores; arithmetic is float32."""
    return to_dtype(op(to_dtype(x, float32), *args), bfloat16)


def reduce(name, x, dim, keepdim, dtype=None):
    check_tensor(name, x)
    if x.dtype is bfloat16 and dtype is None:
        return through_float32(lambda wide: reduce(name, wide, dim, keepdim), x)
    return Reduce.apply(x, name, read_dims(name, dim, x.ndim), builtins.bool(keepdim), dtype or x.dtype)


def check_floating(name, x):
    check_tensor(name, x)
    if not x.dtype.is_floating_point:
        raise RuntimeError(
            f"{name}(): could not infer output dtype. Input dtype must be either a floating point or complex dtype. "
            f"Got: {x.dtype}; convert with .float()"
        )


def check_not_empty(name, x, dim):
    """An extremum of nothing does not exist."""
    if x.numel():
        return
    if dim is None:
        raise (IndexError if name.startswith("arg") else RuntimeError)(
            f"{name}(): Expected reduction dim to be specified for input.numel() == 0. Specify the reduction dim with the 'dim' argument."
        )
    for d in read_dims(name, dim, x.ndim):
        if x.shape[d] == 0:
            raise IndexError(f"{name}(): Expected reduction dim {d} to have non-zero size.")


def _sum(input, dim=None, keepdim=False, *, dtype=None):
    """Sum over all elements, or over the dimensions `dim`, in a fixed tree: the same bits for any number of threads.

    Parameters
    ----------
    input : Tensor of any dtype; integers and bools are summed as int64
    dim : int or tuple of ints; None (or an empty tuple) for all
    keepdim : keep reduced dimensions with size 1
    dtype : convert to this dtype first

    Returns
    -------
    A new Tensor; the sum of nothing is 0. Backward keeps nothing.
    """
    check_tensor("sum", input)
    if dtype is not None and input.dtype is not dtype:
        input = to_dtype(input, dtype)
    elif dtype is None and not input.dtype.is_floating_point:
        dtype = int64
    return reduce("sum", input, dim, keepdim, dtype)


def _mean(input, dim=None, keepdim=False, *, dtype=None):
    """Arithmetic mean: `sum` over the number of elements; nan for none. RuntimeError for integers without `dtype`."""
    if dtype is not None:
        check_tensor("mean", input)
        input = to_dtype(input, dtype)
    check_floating("mean", input)
    return reduce("mean", input, dim, keepdim)


sum, mean = FullReduction("sum", _sum), FullReduction("mean", _mean)


def prod(input, dim=None, keepdim=False, *, dtype=None):
    """Product of all elements, or along one dimension; integers as int64. Backward keeps x and is exact where x has zeros."""
    check_tensor("prod", input)
    if dtype is not None:
        input = to_dtype(input, dtype)
    if dim is not None and not isinstance(dim, int):
        raise TypeError(f"prod(): argument 'dim' must be int, not {type(dim).__name__}")
    return reduce("prod", input, dim, keepdim, None if input.dtype.is_floating_point else int64)


def amax(input, dim=(), keepdim=False):
    """Largest element over one or more dimensions; nan if there is one. Ties share the gradient evenly."""
    check_tensor("amax", input)
    check_not_empty("amax", input, dim if dim != () else None)
    return reduce("amax", input, dim, keepdim)


def amin(input, dim=(), keepdim=False):
    """Smallest element over one or more dimensions; nan if there is one. Ties share the gradient evenly."""
    check_tensor("amin", input)
    check_not_empty("amin", input, dim if dim != () else None)
    return reduce("amin", input, dim, keepdim)


def aminmax(input, *, dim=None, keepdim=False):
    """(amin, amax) as a named tuple."""
    dims = () if dim is None else dim
    return MinAndMax(amin(input, dims, keepdim), amax(input, dims, keepdim))


def _extremum(name, input, dim, keepdim):
    check_tensor(name, input)
    if not isinstance(dim, int):
        raise TypeError(f"{name}(): argument 'dim' must be int, not {type(dim).__name__}")
    check_not_empty(name, input, dim)
    return Extremum.apply(input, name, read_dims(name, dim, input.ndim), builtins.bool(keepdim))


def max(input, dim=None, keepdim=False, *, other=None):
    """The largest element; with `dim` a named tuple (values, indices) along it; with a second tensor `maximum`.

    A nan is the largest. Of equal elements the first one's index is returned and gets the gradient; the maximum of all
    elements shares it evenly.
    """
    other = dim if isinstance(dim, Array) else other
    if other is not None:
        from kernelgrad.ops.elementwise import maximum

        return maximum(input, other)
    if dim is not None:
        return _extremum("max", input, dim, keepdim)
    check_tensor("max", input)
    check_not_empty("max", input, None)
    return reduce("amax", input, None, False)


def min(input, dim=None, keepdim=False, *, other=None):
    """The smallest element; otherwise as `max`."""
    other = dim if isinstance(dim, Array) else other
    if other is not None:
        from kernelgrad.ops.elementwise import minimum

        return minimum(input, other)
    if dim is not None:
        return _extremum("min", input, dim, keepdim)
    check_tensor("min", input)
    check_not_empty("min", input, None)
    return reduce("amin", input, None, False)


def _index(name, input, dim, keepdim):
    check_tensor(name, input)
    if input.dtype is bool_:
        raise RuntimeError(f"{name}(): does not support bool input; convert with .to(kernelgrad.uint8)")
    check_not_empty(name, input, dim)
    if dim is None:  # an index into the flattened tensor: C order, whatever the memory
        from kernelgrad.core import contiguous

        flat = contiguous(input)
        out, result = Grouping(flat, range(flat.ndim)).new_result(int64, input.device, keepdim)
        sizes = (1, input.numel(), 1)
        FORWARD[name]((as_block(flat, *sizes), result), sizes)
        return out
    if not isinstance(dim, int):
        raise TypeError(f"{name}(): argument 'dim' must be int, not {type(dim).__name__}")
    x = cast(input, float32) if input.dtype is bfloat16 else input
    x = dense(x)
    grouping = Grouping(x, read_dims(name, dim, x.ndim))
    out, flat = grouping.new_result(int64, x.device, keepdim)
    FORWARD[name]((grouping.block(x), flat), (grouping.outer, grouping.n, grouping.inner))
    return grouping.finish(out, flat, keepdim)


def argmax(input, dim=None, keepdim=False):
    """int64 index of the largest element, the first of equals or of nans; without `dim` into the flattened tensor."""
    return _index("argmax", input, dim, keepdim)


def argmin(input, dim=None, keepdim=False):
    """int64 index of the smallest element, the first of equals or of nans; without `dim` into the flattened tensor."""
    return _index("argmin", input, dim, keepdim)


def any(input, dim=None, keepdim=False):
    """Whether an element is not zero (nan is not); bool, or uint8 for uint8."""
    return reduce("any", input, dim, keepdim, uint8 if getattr(input, "dtype", None) is uint8 else bool_)


def all(input, dim=None, keepdim=False):
    """Whether no element is zero; bool, or uint8 for uint8. True for nothing."""
    return reduce("all", input, dim, keepdim, uint8 if getattr(input, "dtype", None) is uint8 else bool_)


def count_nonzero(input, dim=None):
    """How many elements are not zero, as int64."""
    from kernelgrad.ops.elementwise import ne

    check_tensor("count_nonzero", input)
    return sum(ne(input, 0), dim)


def logsumexp(input, dim, keepdim=False):
    """``log(sum(exp(input)))`` over `dim`, without overflow; -inf where all are. Backward keeps x and the result."""
    check_tensor("logsumexp", input)
    if not input.dtype.is_floating_point:
        input = to_dtype(input, float32)
    return reduce("logsumexp", input, dim, keepdim)


def _moments(name, input, dim, unbiased, keepdim, correction):
    check_tensor(name, input)
    if not input.dtype.is_floating_point:
        raise RuntimeError(
            f"{name} and std only support floating point dtypes, got {input.dtype}; convert with .float()".replace(
                "std and std", "std and var"
            )
        )
    if isinstance(dim, builtins.bool):
        dim, unbiased = None, dim
    if unbiased is not None and correction is not None:
        raise TypeError(f"{name}(): give `unbiased` or `correction`, not both")
    if correction is None:
        correction = 1 if unbiased is None or unbiased else 0
    if input.dtype is bfloat16:
        return through_float32(lambda x: _moments(name, x, dim, None, keepdim, correction), input)
    return Moments.apply(input, name, read_dims(name, dim, input.ndim), float(correction), builtins.bool(keepdim))


def var(input, dim=None, unbiased=None, keepdim=False, *, correction=None):
    """Variance ``sum((x - mean)^2) / (n - correction)``, by two passes. Backward keeps x and the means.

    Parameters
    ----------
    input : Tensor of a floating dtype
    dim : int or tuple of ints; None for all elements
    unbiased : True is ``correction=1`` (the default), False is 0
    correction : number taken off n; with n <= correction the result is nan or inf

    Raises
    ------
    RuntimeError
        For integers.
    """
    return _moments("var", input, dim, unbiased, keepdim, correction)


def std(input, dim=None, unbiased=None, keepdim=False, *, correction=None):
    """Standard deviation, the root of `var`. The slope is 0 where all elements are alike."""
    return _moments("std", input, dim, unbiased, keepdim, correction)


def var_mean(input, dim=None, unbiased=None, keepdim=False, *, correction=None):
    """(var, mean)"""
    over = None if isinstance(dim, builtins.bool) else dim
    return var(input, dim, unbiased, keepdim, correction=correction), mean(input, over, keepdim)


def std_mean(input, dim=None, unbiased=None, keepdim=False, *, correction=None):
    """(std, mean)"""
    over = None if isinstance(dim, builtins.bool) else dim
    return std(input, dim, unbiased, keepdim, correction=correction), mean(input, over, keepdim)


def norm(input, p="fro", dim=None, keepdim=False, dtype=None):
    """Vector p-norm ``(sum |x|^p)^(1/p)``; "fro" is p = 2, (-)inf the largest (smallest) |x|, 0 counts non-zeros.

    The slope at the origin is 0. Matrix norms other than "fro" are not offered (NotImplementedError).
    """
    check_tensor("norm", input)
    if dtype is not None:
        input = to_dtype(input, dtype)
    if not input.dtype.is_floating_point:
        raise RuntimeError(f"norm: expected a floating-point tensor, got {input.dtype}; convert with .float()")
    if isinstance(p, str) and p != "fro":
        raise NotImplementedError(f"norm: p={p!r} is not supported; use 'fro' or a number")
    if p is None or p == "fro" or p == 2:
        return reduce("norm", input, dim, keepdim)
    from kernelgrad.ops.elementwise import ne, pow
    from kernelgrad.ops.math import abs

    if p == 0:
        return to_dtype(sum(ne(input, 0), dim, keepdim), input.dtype)
    size = abs(input)
    if math.isinf(p):
        return (amax if p > 0 else amin)(size, () if dim is None else dim, keepdim)
    if p == 1:
        return sum(size, dim, keepdim)
    return pow(sum(pow(size, p), dim, keepdim), 1.0 / p)


def cumsum(input, dim, *, dtype=None):
    """Running sum along `dim`; integers and bools as int64. Backward keeps nothing."""
    check_tensor("cumsum", input)
    if dtype is None and not input.dtype.is_floating_point:
        dtype = int64
    if dtype is not None:
        input = to_dtype(input, dtype)
    read_dims("cumsum", dim, input.ndim)
    if input.dtype is bfloat16:
        return through_float32(cumsum, input, dim)
    return Cumsum.apply(input, dim % input.ndim if input.ndim else 0)
