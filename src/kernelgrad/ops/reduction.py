"""Reductions over any set of dimensions. They follow the memory of the input (see core/reductions.pyx)."""

import builtins
import math
from typing import Any, NamedTuple

from kernelgrad.core import (
    Array,
    bfloat16,
    bool_,
    cast,
    contiguous,
    float32,
    int64,
    to_dtype,
    uint8,
)
from kernelgrad.core.reductions import Cumsum, FullReduction, Reduction
from kernelgrad.ops.layouts import check_tensor, read_dims

__all__ = [
    "all", "amax", "amin", "aminmax", "any", "argmax", "argmin", "count_nonzero", "cumsum", "logsumexp", "max",
    "mean", "min", "norm", "prod", "std", "std_mean", "sum", "var", "var_mean",
]  # fmt: skip

# What backward of each reduction reads beside the upstream gradient. The whole gradient of max goes to its index; amax
# shares it among all that are equal.
REDUCTIONS = {
    "sum": Reduction("sum"),
    "mean": Reduction("mean"),
    "prod": Reduction("prod", ("x",)),
    "amax": Reduction("amax", ("x", "out")),
    "amin": Reduction("amin", ("x", "out"), backward="amax"),
    "max": Reduction("max", ("indices",)),
    "min": Reduction("min", ("indices",), backward="max"),
    "norm": Reduction("norm", ("x", "out")),
    "logsumexp": Reduction("logsumexp", ("x", "out")),
    "var": Reduction("var", ("x", "mean")),
    "std": Reduction("std", ("x", "mean", "out")),
}
REDUCTIONS |= {name: Reduction(name, differentiable=False) for name in ("argmax", "argmin", "any", "all")}


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
    if x.is_cuda and dtype is int64:
        x = to_dtype(x, int64)  # kernels there count in the dtype that they read
    return REDUCTIONS[name](x, read_dims(name, dim, x.ndim), keepdim, dtype or x.dtype)


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
            f"{name}(): Expected reduction dim to be specified for input.numel() == 0. "
            "Specify the reduction dim with the 'dim' argument."
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
    """Product of all elements, or along one dimension; integers as int64. Backward keeps x; zeros in it do no harm."""
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
    return ValuesAndIndices(*REDUCTIONS[name](input, read_dims(name, dim, input.ndim), keepdim, input.dtype))


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
    if dim is not None and not isinstance(dim, int):
        raise TypeError(f"{name}(): argument 'dim' must be int, not {type(dim).__name__}")
    x = cast(input, float32) if input.dtype is bfloat16 else input
    if dim is None:  # an index into the flattened tensor: C order, whatever the memory
        x = contiguous(x)
    return REDUCTIONS[name](x, read_dims(name, dim, x.ndim), keepdim, int64)


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
    return REDUCTIONS[name](input, read_dims(name, dim, input.ndim), keepdim, input.dtype, correction)


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
    from kernelgrad.ops.elementwise import constant_in_steps, ne, pow
    from kernelgrad.ops.math import abs

    if p == 0:
        return constant_in_steps(lambda x: to_dtype(sum(ne(x, 0), dim, keepdim), x.dtype), input)
    size = abs(input)
    if math.isinf(p):
        return (amax if p > 0 else amin)(size, () if dim is None else dim, keepdim)
    if p == 1:
        return sum(size, dim, keepdim)
    return pow(sum(pow(size, p), dim, keepdim), 1.0 / p)


def _cumsum(input, dim, *, dtype=None):
    """Running sum along `dim`; integers and bools as int64. Backward keeps nothing."""
    check_tensor("cumsum", input)
    if dtype is None and not input.dtype.is_floating_point:
        dtype = int64
    if dtype is not None:
        input = to_dtype(input, dtype)
    read_dims("cumsum", dim, input.ndim)
    if input.dtype is bfloat16:
        return through_float32(cumsum, input, dim)
    return cumsum.run(input, dim % input.ndim if input.ndim else 0)


cumsum = Cumsum(_cumsum)
