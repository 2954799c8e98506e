"""Softmax and log-softmax along any dimension, in the memory layout of the input."""

from kernelgrad.core import Function, bfloat16, empty_like, float32, kernel, to_dtype
from kernelgrad.ops.layouts import along, as_block, check_tensor, dense, like, read_dims

__all__ = ["log_softmax", "softmax", "softmin"]

FORWARD = {name: kernel(f"{name}_forward") for name in ("softmax", "log_softmax")}
BACKWARD = {name: kernel(f"{name}_backward") for name in ("softmax", "log_softmax")}


class Softmax(Function):
    """Keeps the output alone."""

    @staticmethod
    def forward(ctx, x, name, dim):
        x = dense(x)
        out = empty_like(x)
        block = along(x, dim)
        outer, n, inner = block
        FORWARD[name]((as_block(x, *block), as_block(out, *block)), (outer * inner, n, inner))
        ctx.save_for_backward(out)
        ctx.name, ctx.block = name, block
        return out

    @staticmethod
    def backward(ctx, grad_out):
        (out,) = ctx.saved_tensors
        block = outer, n, inner = ctx.block
        grad_out = like(grad_out, out)
        grad_x = empty_like(out)
        arrays = (as_block(out, *block), as_block(grad_out, *block), as_block(grad_x, *block))
        BACKWARD[ctx.name](arrays, (outer * inner, n, inner))
        return grad_x, None, None


def _softmax(name, input, dim, dtype):
    check_tensor(name, input)
    if dtype is not None:
        input = to_dtype(input, dtype)
    if not input.dtype.is_floating_point:
        raise NotImplementedError(f'"{name}" not implemented for {input.dtype}: convert with .float()')
    if dim is None:  # PyTorch's guess
        dim = 0 if input.ndim in (0, 1, 3) else 1
    dims = read_dims(name, dim, input.ndim)
    if input.dtype is bfloat16:
        return to_dtype(_softmax(name, to_dtype(input, float32), dim, None), bfloat16)
    return Softmax.apply(input, name, dims[0] if dims else 0)


def softmax(input, dim=None, _stacklevel=3, dtype=None):
    """``exp(input) / sum(exp(input))`` along `dim`, shifted by the maximum against overflow.

    Parameters
    ----------
    input : Tensor of a floating dtype
    dim : the dimension that sums to 1; None is 0 for 0, 1 and 3 dimensions, else 1
    dtype : convert to this dtype first

    Returns
    -------
    A new Tensor of the same shape and layout. A row of -inf alone is nan, as in PyTorch. Backward keeps the output.
    """
    return _softmax("softmax", input, dim, dtype)


def log_softmax(input, dim=None, _stacklevel=3, dtype=None):
    """``log(softmax(input, dim))``, computed as ``input - logsumexp(input)``. Backward keeps the output."""
    return _softmax("log_softmax", input, dim, dtype)


def softmin(input, dim=None, _stacklevel=3, dtype=None):
    """``softmax(-input, dim)``"""
    from kernelgrad.ops.elementwise import mul

    return softmax(mul(input, -1), dim, dtype=dtype)
