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
from kernelgrad.ops.gathering import TakeRows

__all__ = ["argwhere", "masked_fill", "masked_select", "nonzero"]

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


def nonzero(input, as_tuple=False):
    """Indices of the elements that are not 0, as an int64 matrix (count, ndim), or a tuple of vectors."""
    a = as_numpy(move(input, "cpu"))
    if as_tuple:
        return tuple(move(from_numpy(i.astype(np.int64)), input.device) for i in np.nonzero(np.atleast_1d(a)))
    return move(from_numpy(np.ascontiguousarray(np.argwhere(a), dtype=np.int64)), input.device)


def argwhere(input):
    """`nonzero` as a matrix."""
    return nonzero(input)
