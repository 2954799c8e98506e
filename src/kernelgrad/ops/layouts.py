"""Views of memory for ops that work along some dimensions of a tensor; copies only where strides leave no choice."""

from kernelgrad.core import Array, as_strided, contiguous, copy_, empty_like


def dense(x):
    """`x` itself where its elements fill their memory without gaps, else a contiguous copy; no graph."""
    return x if x.is_dense() else contiguous(x)


def like(x, model):
    """`x` in the memory layout of `model`, a dense array of the same shape: `x` itself or a copy; no graph."""
    if x is model or (x.is_dense() and same_order(x, model)):
        return x
    return copy_(empty_like(model, x.dtype), x)


def same_order(x, y):
    return all(a == b or size == 1 for a, b, size in zip(x.stride(), y.stride(), x.shape, strict=True))


def along(x, dim):
    """(outer, n, inner) of a dense array's memory, where n is dimension `dim`."""
    if x.ndim == 0:
        return 1, 1, 1
    n = x.shape[dim]
    if x.numel() == 0:
        return 0, n, 1
    if n == 1:
        return 1, 1, x.numel()
    inner = x.stride()[dim]
    return x.numel() // (n * inner), n, inner


def as_block(x, outer, n, inner):
    """The memory of a dense array as (outer, n, inner)."""
    return as_strided(x, (outer, n, inner), (n * inner, inner, 1))


def viewed(x, shape):
    """A contiguous array under another shape of the same size; no graph."""
    stride, step = [], 1
    for size in reversed(shape):
        stride.append(step)
        step *= size
    return as_strided(x, shape, stride[::-1])


def as_flat(x):
    """The memory of a dense array, in its own order."""
    return as_strided(x, (x.numel(),), (1,))


def read_dims(name, dim, ndim):
    """The dimensions that `dim` (None, an int, or a tuple) names, counted from 0; all of them for None and ()."""
    if dim is None or (isinstance(dim, (tuple, list)) and len(dim) == 0):
        return tuple(range(ndim))
    dims = (dim,) if isinstance(dim, int) else dim
    if not isinstance(dims, (tuple, list)):
        raise TypeError(f"{name}(): argument 'dim' must be int or tuple of ints, not {type(dim).__name__}")
    found = []
    for d in dims:
        size = ndim if ndim else 1
        if not -size <= d < size:
            raise IndexError(f"Dimension out of range (expected to be in range of [{-size}, {size - 1}], but got {d})")
        d %= size
        if d in found:
            raise RuntimeError(f"dim {d} appears multiple times in the list of dims")
        found.append(d)
    return tuple(found) if ndim else ()


def check_tensor(name, x, argument="input"):
    if not isinstance(x, Array):
        raise TypeError(f"{name}(): argument '{argument}' must be Tensor, not {type(x).__name__}")
