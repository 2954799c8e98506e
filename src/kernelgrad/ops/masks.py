"""Elements chosen by a mask of bools, and where elements are not zero."""

import numpy as np

from kernelgrad.core import (
    Array,
    Function,
    as_numpy,
    bfloat16,
    bool_,
    broadcast,
    float32,
    from_numpy,
    kernel,
    move,
    sum_to_shape,
    to_dtype,
)
from kernelgrad.core.views import contiguous, expand, reshape
from kernelgrad.ops.elementwise import logical_not
from kernelgrad.ops.gathering import TakeRows, scatter

__all__ = ["argwhere", "isin", "masked_fill", "masked_scatter", "masked_select", "nonzero"]

_masked_fill = kernel("masked_fill_forward")


class MaskedFill(Function):
    """mask ? value : x, broadcast."""

    @staticmethod
    def forward(ctx, x, mask, value):
        ctx.save_for_backward(mask)
        ctx.shape, ctx.value = x.shape, value
        number = value.item() if isinstance(value, Array) else value
        return broadcast(_masked_fill, x, mask, dtype=x.dtype, scalars=(number,))

    @staticmethod
    def backward(ctx, grad_out):
        grad_x = grad_value = None
        if ctx.needs_input_grad[0]:
            grad = broadcast(_masked_fill, grad_out, ctx.saved_tensors[0], dtype=grad_out.dtype, scalars=(0.0,))
            grad_x = grad if grad.shape == ctx.shape else sum_to_shape(grad, ctx.shape)
        if ctx.needs_input_grad[2]:
            kept = logical_not(ctx.saved_tensors[0])
            taken = broadcast(_masked_fill, grad_out, kept, dtype=grad_out.dtype, scalars=(0.0,))
            taken = sum_to_shape(taken, ())
            grad_value = move(to_dtype(taken, ctx.value.dtype), ctx.value.device)
        return grad_x, None, grad_value


def masked_fill(input, mask, value):
    """`input` with `value` (a number or 0-d Tensor) where `mask` (bool, broadcast) is true. Backward keeps the mask."""
    if not isinstance(mask, Array) or mask.dtype is not bool_:
        raise RuntimeError(
            "masked_fill_ only supports boolean masks, "
            "but "
            "got "
            "mask "
            "with "
            "dtype "
            f"{mask.dtype if isinstance(mask, Array) else type(mask).__name__}"
        )
    if isinstance(value, Array) and value.ndim:
        raise RuntimeError(
            f"masked_fill_ only supports a 0-dimensional value tensor, but got one with {value.ndim} dimension(s)."
        )
    number = value.item() if isinstance(value, Array) else value
    if isinstance(number, float) and not input.dtype.is_floating_point and not number.is_integer():
        raise RuntimeError(f"value cannot be converted to type {input.dtype.name} without overflow or loss: {number}")
    if input.dtype is bfloat16:
        return to_dtype(masked_fill(to_dtype(input, float32), mask, value), bfloat16)
    return MaskedFill.apply(input, mask, value)


def masked_select(input, mask):
    """The elements of `input` where `mask` is true, as a vector; the two broadcast."""
    if mask.dtype is not bool_:
        raise RuntimeError(f"masked_select: expected BoolTensor for mask, got {mask.dtype}")
    shape = np.broadcast_shapes(input.shape, mask.shape)
    mask = expand(mask, shape)
    positions = from_numpy(np.flatnonzero(as_numpy(move(mask, "cpu"))))
    flat = reshape(expand(input, shape), (-1,))
    n = positions.numel()
    return TakeRows.apply(contiguous(flat), move(positions, input.device), 1, flat.numel(), 1, (n,))


def masked_scatter(input, mask, source):
    """`input` with the elements of `source`, in order, where `mask` (bool, broadcast) is true."""
    if mask.dtype is not bool_:
        raise RuntimeError(f"masked_scatter_ only supports boolean masks, but got mask with dtype {mask.dtype}")
    if source.dtype is not input.dtype:
        raise RuntimeError(
            f"masked_scatter: expected self and source to have same dtypes but got {input.dtype} and {source.dtype}"
        )
    shape = np.broadcast_shapes(input.shape, mask.shape)
    positions = np.flatnonzero(as_numpy(move(expand(mask, shape), "cpu")))
    if source.numel() < positions.size:
        raise RuntimeError(
            f"masked_scatter: expected number of elements in source >= number of ones in mask, got {source.numel()} "
            f"and {positions.size}"
        )
    values = reshape(source, (-1,))[: positions.size]
    flat = reshape(expand(input, shape), (-1,))
    return reshape(scatter(flat, 0, move(from_numpy(positions), input.device), values), shape)


def isin(elements, test_elements, *, assume_unique=False, invert=False):
    """True where an element (of a Tensor, or a number) is among `test_elements`; with `invert` where it is not."""
    a, b = (as_numpy(move(x, "cpu")) if isinstance(x, Array) else np.asarray(x) for x in (elements, test_elements))
    device = elements.device if isinstance(elements, Array) else test_elements.device
    return move(from_numpy(np.array(np.isin(a, b, assume_unique=False, invert=invert))), device)


def nonzero(input, as_tuple=False):
    """Indices of the elements that are not 0, as an int64 matrix (count, ndim), or a tuple of vectors."""
    a = as_numpy(move(input, "cpu"))
    if as_tuple:
        return tuple(move(from_numpy(i.astype(np.int64)), input.device) for i in np.nonzero(np.atleast_1d(a)))
    return move(from_numpy(np.ascontiguousarray(np.argwhere(a), dtype=np.int64)), input.device)


def argwhere(input):
    """`nonzero` as a matrix."""
    return nonzero(input)
