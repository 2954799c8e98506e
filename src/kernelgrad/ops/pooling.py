"""Pooling. Axes: N batch, C channels, H W space. Outputs and gradients keep the input's memory layout, NHWC or NCHW."""

from functools import lru_cache

from kernelgrad.core import Array, bfloat16
from kernelgrad.core.poolings import PoolPlan, pool

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "avg_pool1d",
    "avg_pool2d",
    "max_pool1d",
    "max_pool2d",
]


def max_pool2d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    """Largest value of each window: ``out[n, c, y, x] = max over i, j of input[n, c, y s + i d - p, x s + j d - p]``.

    Parameters
    ----------
    input : Tensor of shape (N, C, H, W) or (C, H, W), any real dtype, NHWC or NCHW memory
    kernel_size, stride, padding, dilation : int or pair of ints; stride defaults to kernel_size; padding counts as -inf
    ceil_mode : let windows hang over the far edge, as long as they start on the image or the padding before it
    return_indices : also return where each maximum is, as int64 flat indices y W + x into the plane

    Returns
    -------
    Tensor of shape (N, C, OH, OW) or (C, OH, OW) in the layout of `input`; with the indices behind it if asked for.
    A nan in a window wins, of equal values the first. Backward keeps a byte per output, or an int32 for windows of
    more than 255 taps.

    Raises
    ------
    RuntimeError
        If the input is not 3-d or 4-d, a parameter is out of range, or the output would be empty.
    """
    return max_pool("max_pool2d", 2, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def max_pool1d(input, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    """Largest value of each window of (N, C, L) or (C, L). See `max_pool2d`."""
    return max_pool("max_pool1d", 1, input, kernel_size, stride, padding, dilation, ceil_mode, return_indices)


def avg_pool2d(
    input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None
):
    """Mean of each window.

    Parameters
    ----------
    input : Tensor of shape (N, C, H, W) or (C, H, W), float32 or float64, NHWC or NCHW memory
    kernel_size, stride, padding : int or pair of ints; stride defaults to kernel_size
    ceil_mode : let windows hang over the far edge, as long as they start on the image or the padding before it
    count_include_pad : divide by the number of taps on image and padding, else by those on the image
    divisor_override : divide by this instead

    Returns
    -------
    Tensor of shape (N, C, OH, OW) or (C, OH, OW) in the layout of `input`. Backward keeps nothing.

    Raises
    ------
    RuntimeError
        If the input is not 3-d or 4-d, a parameter is out of range, or the output would be empty.
    """
    return avg_pool(
        "avg_pool2d", 2, input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )


def avg_pool1d(input, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
    """Mean of each window of (N, C, L) or (C, L). See `avg_pool2d`."""
    return avg_pool("avg_pool1d", 1, input, kernel_size, stride, padding, ceil_mode, count_include_pad, None)


def adaptive_avg_pool2d(input, output_size):
    """Mean over an even partition into windows: output y covers rows floor(y H / OH) to ceil((y + 1) H / OH).

    Parameters
    ----------
    input : Tensor of shape (N, C, H, W) or (C, H, W), float32 or float64, NHWC or NCHW memory
    output_size : int or pair of ints; None keeps that size of the input

    Returns
    -------
    Tensor of shape (N, C, *output_size) or (C, *output_size) in the layout of `input`. Backward keeps nothing.
    """
    return adaptive_avg_pool("adaptive_avg_pool2d", 2, input, output_size)


def adaptive_avg_pool1d(input, output_size):
    """Mean over an even partition of (N, C, L) or (C, L). See `adaptive_avg_pool2d`."""
    return adaptive_avg_pool("adaptive_avg_pool1d", 1, input, output_size)


def adaptive_max_pool2d(input, output_size, return_indices=False):
    """Largest value of each of the windows of `adaptive_avg_pool2d`. See `max_pool2d` for the rest."""
    return adaptive_max_pool("adaptive_max_pool2d", 2, input, output_size, return_indices)


def adaptive_max_pool1d(input, output_size, return_indices=False):
    """Largest value over an even partition of (N, C, L) or (C, L). See `adaptive_max_pool2d`."""
    return adaptive_max_pool("adaptive_max_pool1d", 1, input, output_size, return_indices)


# ---- Checks and geometry. What depends on shapes alone is worked out once for each. ----


def max_pool(op, dims, x, kernel_size, stride, padding, dilation, ceil_mode, return_indices):
    check_type(op, x)
    options = (hashable(kernel_size), hashable(stride), hashable(padding), hashable(dilation), bool(ceil_mode))
    return pool(x, plan(op, dims, x.shape, *options), bool(return_indices))


def avg_pool(op, dims, x, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override):
    check_type(op, x, floating=True)
    if divisor_override is not None and divisor_override == 0:
        raise RuntimeError(f"{op}: divisor must be not zero")
    options = (hashable(kernel_size), hashable(stride), hashable(padding), 1, bool(ceil_mode))
    return pool(x, plan(op, dims, x.shape, *options, (bool(count_include_pad), divisor_override or 0)))


def adaptive_max_pool(op, dims, x, output_size, return_indices):
    check_type(op, x)
    return pool(x, plan_adaptive(op, dims, x.shape, hashable(output_size)), bool(return_indices))


def adaptive_avg_pool(op, dims, x, output_size):
    check_type(op, x, floating=True)
    return pool(x, plan_adaptive(op, dims, x.shape, hashable(output_size), (0, 0)))


def check_type(op, x, floating=False):
    if not isinstance(x, Array):
        raise TypeError(f"{op}: expected input to be a Tensor, got {type(x).__name__}")
    if x.dtype is bfloat16:
        raise NotImplementedError(f"{op}: not implemented for {x.dtype}; convert with .float()")
    if floating and not x.dtype.is_floating_point:
        raise RuntimeError(f"{op}: not implemented for {x.dtype}; convert with .float()")


def check_shape(op, dims, shape):
    if len(shape) not in (dims + 1, dims + 2) or 0 in shape[-dims - 1 :]:
        raise RuntimeError(
            f"{op}: Expected {dims + 1}D or {dims + 2}D (batch mode) tensor with optional 0 dim batch size for input, "
            f"but got: {list(shape)}"
        )


def hashable(value):
    return tuple(value) if isinstance(value, list) else value


def numbers(op, name, value, dims):
    values = list(value) if isinstance(value, tuple) else [value] * dims
    if len(values) == 1:
        values *= dims
    if len(values) != dims or not all(hasattr(v, "__index__") for v in values):
        kind = RuntimeError if len(values) != dims else TypeError
        raise kind(f"{op}: {name} must either be a single int, or a tuple of {dims} ints, got {value!r}")
    return [v.__index__() for v in values]


@lru_cache(maxsize=1024, typed=True)
def plan_adaptive(op, dims, shape, output_size, average=()):
    """The plan of an adaptive call, whose kernel size is that of the widest window. See `plan`."""
    check_shape(op, dims, shape)
    sizes = output_size if isinstance(output_size, tuple) else (output_size,) * dims
    if len(sizes) == dims:
        sizes = tuple(n if o is None else o for n, o in zip(shape[-dims:], sizes, strict=True))
    out = numbers(op, "output_size", sizes, dims)
    if min(out) < 0:
        raise RuntimeError(f"{op}: elements of output_size must be greater than or equal to 0 but received {out}")
    widest = [n // max(o, 1) + 2 for n, o in zip(shape[-dims:], out, strict=True)]
    if dims == 1:
        out, widest = [1, *out], [1, *widest]
    kind = "average" if average else "maximum"
    return PoolPlan(kind, dims, len(shape) == dims + 2, (*out, *widest, 1, 1, 0, 0, 1, 1, 1, *average))


@lru_cache(maxsize=1024, typed=True)
def plan(op, dims, shape, kernel_size, stride, padding, dilation, ceil_mode, average=()):
    """The plan of a call; `average`: count_include_pad and divisor_override, nothing for a maximum."""
    check_shape(op, dims, shape)
    batched = len(shape) == dims + 2
    kernel_size, padding = numbers(op, "kernel_size", kernel_size, dims), numbers(op, "padding", padding, dims)
    stride = kernel_size if stride is None or stride == () else numbers(op, "stride", stride, dims)
    dilation = numbers(op, "dilation", dilation, dims)
    for name, values in (("kernel_size", kernel_size), ("stride", stride), ("dilation", dilation)):
        if min(values) < 1:
            raise RuntimeError(f"{op}: {name} should be greater than zero, but got {tuple(values)}")
    out = []
    for n, k, s, p, d in zip(shape[-dims:], kernel_size, stride, padding, dilation, strict=True):
        reach = d * (k - 1) + 1
        if p < 0 or p > reach // 2:
            raise RuntimeError(
                f"{op}: padding should be at least 0 and at most half of effective kernel size, but got pad={p}, "
                f"kernel_size={k} and dilation={d}"
            )
        size = (n + 2 * p - reach + (s - 1 if ceil_mode else 0)) // s + 1
        if ceil_mode and (size - 1) * s >= n + p:  # the last window must start on the image or the padding before it
            size -= 1
        out.append(size)
    if min(out) < 1:
        raise RuntimeError(
            f"{op}: Given input size: {tuple(shape[-dims - 1 :])}. Calculated output size: {tuple(out)}. "
            "Output size is too small"
        )
    if dims == 1:
        out, kernel_size, stride, padding, dilation = (
            [first, *v] for first, v in zip((1, 1, 1, 0, 1), (out, kernel_size, stride, padding, dilation), strict=True)
        )
    geometry = (*out, *kernel_size, *stride, *padding, *dilation, 0, *average)
    return PoolPlan("average" if average else "maximum", dims, batched, geometry)
