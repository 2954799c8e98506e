"""Making tensors, moving them between dtypes and devices, copying them."""

import numbers

import numpy as np

from kernelgrad import core
from kernelgrad.core import Array, Function
from kernelgrad.core.memory_format import channels_last as channels_last_format
from kernelgrad.core.memory_format import contiguous_format, preserve_format
from kernelgrad.core.views import channels_last

_SIZE = """

    Parameters
    ----------
    size : ints, or one tuple of ints
    dtype : a kernelgrad dtype; the default float dtype where not given
    device : "cpu" (default) or "cuda"
    requires_grad : record operations on the result
    """


def _leaf(x, requires_grad):
    return core.set_requires_grad(x, True) if requires_grad else x


def _shape(size):
    return tuple(size[0]) if len(size) == 1 and not isinstance(size[0], numbers.Integral) else size


def tensor(data, *, dtype=None, device=None, requires_grad=False):
    """A new tensor with a copy of `data`: a number, nested lists, a NumPy array or a tensor.

    Python floats become the default float dtype (float32), ints int64, bools bool; NumPy arrays keep their dtype.
    """
    if isinstance(data, Array):
        x = core.copy(core.detach(data))
    else:
        source = data
        if not isinstance(data, (np.ndarray, np.generic)):
            source = _nested(data)
        source = np.array(source, order="C")
        if dtype is None and source.dtype == np.float64 and not isinstance(data, (np.ndarray, np.generic)):
            source = source.astype(core.get_default_dtype().numpy)
        if source.dtype.kind in "iu" and source.dtype.name not in ("int64", "int32", "int8", "uint8"):
            source = source.astype(np.int64)
        elif source.dtype == np.float16:
            source = source.astype(np.float32)
        if source.dtype.kind not in "biuf":
            raise TypeError(f"tensor: expected numbers, got data of NumPy dtype {source.dtype}")
        x = core.copy(core.from_numpy(source))
    if dtype is not None:
        x = core.cast(x, core.as_dtype(dtype))
    return _leaf(core.move(x, device) if device is not None else x, requires_grad)


def _nested(data):
    """Lists that hold tensors become lists of arrays; ragged lists get an error that says so."""
    if isinstance(data, (list, tuple)):
        data = [
            core.as_numpy(core.move(d, "cpu"))
            if isinstance(d, Array)
            else _nested(d)
            if isinstance(d, (list, tuple))
            else d
            for d in data
        ]
        if not data:
            return np.zeros(0, core.get_default_dtype().numpy)
    try:
        return np.array(data)
    except ValueError as error:
        raise ValueError(f"tensor: the nested lists have unequal lengths ({error})") from None


def as_tensor(data, dtype=None, device=None):
    """Like `tensor`, but shares memory with a tensor or NumPy array where dtype and device allow."""
    if isinstance(data, Array):
        x = data
    elif isinstance(data, np.ndarray):
        x = core.from_numpy(data)
    else:
        return tensor(data, dtype=dtype, device=device)
    return to(x, dtype=dtype, device=device)


def from_numpy(ndarray):
    """A tensor that shares the memory of a NumPy array."""
    return core.from_numpy(ndarray)


def zeros(*size, dtype=None, device=None, requires_grad=False):
    return _leaf(core.zeros(_shape(size), dtype, device), requires_grad)


def ones(*size, dtype=None, device=None, requires_grad=False):
    return _leaf(core.fill_(core.empty(_shape(size), dtype, device), 1), requires_grad)


def empty(*size, dtype=None, device=None, requires_grad=False):
    return _leaf(core.empty(_shape(size), dtype, device), requires_grad)


def full(size, fill_value, *, dtype=None, device=None, requires_grad=False):
    return _leaf(core.full(size, fill_value, None if dtype is None else core.as_dtype(dtype), device), requires_grad)


for _function, _what in ((zeros, "Zeros"), (ones, "Ones"), (empty, "Uninitialised memory"), (full, "One value")):
    _function.__doc__ = f"{_what}, in a new tensor." + _SIZE


def zeros_like(input, *, dtype=None, device=None, requires_grad=False):
    """Zeros with the shape, layout, dtype and device of `input` unless given."""
    return _leaf(core.zero_(_like(input, dtype, device)), requires_grad)


def ones_like(input, *, dtype=None, device=None, requires_grad=False):
    """Ones with the shape, layout, dtype and device of `input` unless given."""
    return _leaf(core.fill_(_like(input, dtype, device), 1), requires_grad)


def empty_like(input, *, dtype=None, device=None, requires_grad=False):
    """Uninitialised memory with the shape, layout, dtype and device of `input` unless given."""
    return _leaf(_like(input, dtype, device), requires_grad)


def full_like(input, fill_value, *, dtype=None, device=None, requires_grad=False):
    """One value with the shape, layout, dtype and device of `input` unless given."""
    return _leaf(core.fill_(_like(input, dtype, device), fill_value), requires_grad)


def _like(x, dtype, device):
    if device is None or device == x.device:
        return core.empty_like(x, dtype)
    return core.empty(x.shape, x.dtype if dtype is None else dtype, device)


def arange(start, end=None, step=1, *, dtype=None, device=None, requires_grad=False):
    """``start, start + step, ...`` below `end`; int64 for integers, else the default float dtype."""
    if end is None:
        start, end = 0, start
    if step == 0:
        raise RuntimeError("step must be nonzero")
    start, end, step = (v.item() if isinstance(v, Array) else v for v in (start, end, step))
    if (end - start) * step < 0:
        raise RuntimeError("upper bound and larger bound inconsistent with step sign")
    if dtype is None:
        dtype = (
            core.int64 if all(isinstance(v, numbers.Integral) for v in (start, end, step)) else core.get_default_dtype()
        )
    dtype = core.as_dtype(dtype)
    if dtype is core.bool_:
        raise NotImplementedError("arange: not implemented for bool")
    if not dtype.is_floating_point:  # the bounds become integers first; only int64 counts by them
        whole = [int(v) for v in (start, end, step)]
        if dtype is core.int64:
            start, end, step = whole
        if whole[2] == 0 and dtype is core.int64:
            raise ValueError(f"arange: step must be nonzero, and as an integer it is 0 (got {step})")
    count = -((start - end) // step) if isinstance(end - start, int) and isinstance(step, int) else (end - start) / step
    count = int(np.ceil(count))
    if not dtype.is_floating_point:
        start, _, step = whole
    values = np.asarray(start + step * np.arange(count))
    return tensor(values, dtype=dtype, device=device, requires_grad=requires_grad)


def linspace(start, end, steps, *, dtype=None, device=None, requires_grad=False):
    """`steps` values from `start` to `end`, both included; for an integer dtype the bounds are cut to integers."""
    values, dtype = _evenly("linspace", start, end, steps, dtype)
    return tensor(values, dtype=dtype, device=device, requires_grad=requires_grad)


def _evenly(name, start, end, steps, dtype):
    dtype = core.get_default_dtype() if dtype is None else core.as_dtype(dtype)
    if dtype is core.bool_:
        raise NotImplementedError(f"{name}: not implemented for bool")
    if steps < 0:
        raise RuntimeError(f"{name}: number of steps must be non-negative, got {steps}")
    start, end = (v.item() if isinstance(v, Array) else v for v in (start, end))
    if dtype.is_floating_point:
        return np.linspace(start, end, steps), dtype
    start, end = int(start), int(end)
    # each half counts from its own end: a rounded product must not fall below a whole number that it should reach
    step, i = (end - start) / max(steps - 1, 1), np.arange(steps)
    values = np.where(i < steps // 2, start + step * i, end - step * (steps - 1 - i))
    return values if steps != 1 else np.full(1, start), dtype


def logspace(start, end, steps, base=10.0, *, dtype=None, device=None, requires_grad=False):
    """`steps` values from ``base ** start`` to ``base ** end``."""
    exponents, dtype = _evenly("logspace", start, end, steps, dtype)
    return tensor(np.power(float(base), exponents), dtype=dtype, device=device, requires_grad=requires_grad)


def eye(n, m=None, *, dtype=None, device=None, requires_grad=False):
    """Ones on the diagonal of an (n, m) matrix of zeros."""
    dtype = core.get_default_dtype() if dtype is None else core.as_dtype(dtype)
    return tensor(np.eye(n, m), dtype=dtype, device=device, requires_grad=requires_grad)


def scalar_tensor(s, *, dtype=None, device=None, requires_grad=False):
    """A 0-d tensor."""
    dtype = core.get_default_dtype() if dtype is None else core.as_dtype(dtype)
    return _leaf(core.full((), s, dtype, device), requires_grad)


class Clone(Function):
    """out = x, in memory of its own."""

    @staticmethod
    def forward(ctx, x):
        return core.copy(x)

    @staticmethod
    def backward(ctx, grad_out):
        return grad_out


def laid_out(x, memory_format):
    """`x`, or a copy of it, in that memory format; part of the graph."""
    if memory_format is None or memory_format is preserve_format:
        return x
    if memory_format is channels_last_format:
        if x.ndim != 4:
            raise RuntimeError(f"required rank 4 tensor to use channels_last format, got {x.ndim} dimensions")
        return channels_last(x)
    if memory_format is contiguous_format:
        return contiguous(x)
    raise TypeError(f"expected a memory format such as kernelgrad.channels_last, got {memory_format!r}")


def clone(input, *, memory_format=None):
    """A copy with memory of its own, in the memory format of `input` unless another is named; part of the graph."""
    return laid_out(Clone.apply(input), memory_format)


class Move(Function):
    """out = x on another device; the gradient goes back."""

    @staticmethod
    def forward(ctx, x, device):
        ctx.source = x.device
        return core.move(x, device)

    @staticmethod
    def backward(ctx, grad_out):
        return core.move(grad_out, ctx.source), None


def to(input, *args, dtype=None, device=None, copy=False, non_blocking=False, memory_format=None):
    """`input` in another dtype, memory format and/or on another device; itself where nothing changes.

    Positional arguments may be a dtype, a device, or a tensor whose dtype and device are taken.
    """
    for a in args:
        if isinstance(a, Array):
            dtype, device = a.dtype, a.device
        elif isinstance(a, (str, core.device)):
            device = a
        elif isinstance(a, bool):
            copy = copy or a
        else:
            dtype = core.as_dtype(a, "to")
    out = input
    if device is not None and core.device_code(device) != core.device_code(out.device):
        out = Move.apply(out, device)
    if dtype is not None:
        out = core.to_dtype(out, dtype)
    out = laid_out(out, memory_format)
    return clone(out) if copy and out is input else out


class Contiguous(Function):
    """out = x in C order."""

    @staticmethod
    def forward(ctx, x):
        return core.contiguous(x)

    @staticmethod
    def backward(ctx, grad_out):
        return grad_out


def contiguous(input):
    """`input` itself if it is in C order, else a copy that is; part of the graph."""
    return input if input.is_contiguous() else Contiguous.apply(input)
