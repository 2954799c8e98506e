"""Softmax and log-softmax along any dimension, in the memory layout of the input."""

from kernelgrad.core import bfloat16, float32, to_dtype
from kernelgrad.core.softmaxes import Softmax
from kernelgrad.ops.layouts import check_tensor, read_dims

__all__ = ["log_softmax", "softmax", "softmin"]


def _checked(op, input, dim, dtype):
    name = op.__name__
    check_tensor(name, input)
    if dtype is not None:
        input = to_dtype(input, dtype)
    if not input.dtype.is_floating_point:
        raise NotImplementedError(f'"{name}" not implemented for {input.dtype}: convert with .float()')
    if dim is None:  # PyTorch's guess
        dim = 0 if input.ndim in (0, 1, 3) else 1
    dims = read_dims(name, dim, input.ndim)
    if input.dtype is bfloat16:
        return to_dtype(_checked(op, to_dtype(input, float32), dim, None), bfloat16)
    return op.run(input, dims[0] if dims else 0)


def _softmax(input, dim=None, _stacklevel=3, dtype=None):
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
    return _checked(softmax, input, dim, dtype)


def _log_softmax(input, dim=None, _stacklevel=3, dtype=None):
    """``log(softmax(input, dim))``, computed as ``input - logsumexp(input)``. Backward keeps the output."""
    return _checked(log_softmax, input, dim, dtype)


softmax, log_softmax = Softmax("softmax", _softmax), Softmax("log_softmax", _log_softmax)


def softmin(input, dim=None, _stacklevel=3, dtype=None):
    """``softmax(-input, dim)``"""
    from kernelgrad.ops.elementwise import mul

    return softmax(mul(input, -1), dim, dtype=dtype)
