"""How a tensor lies in memory, for ops that work along some of its dimensions: views of its memory, no copy where none is needed."""

import math

from kernelgrad.core import Array, as_strided, contiguous, copy_, empty, empty_like


def memory_order(x):
    """Dimensions that are longer than 1, slowest first. x must be dense."""
    stride = x.stride()
    return sorted((d for d, size in enumerate(x.shape) if size != 1), key=lambda d: -stride[d])


def dense(x):
    """`x` itself where its elements fill their memory without gaps, else a contiguous copy; no graph."""
    return x if x.is_dense() else contiguous(x)


def like(x, model):
    """The values of `x` in the memory layout of `model`, a dense array of the same shape: `x` itself where it has it; no graph."""
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


class Grouping:
    """The memory of x as (outer, n, inner), n running over the reduced dimensions, and the way from results back to shapes.

    Dimensions are taken in the order of memory, so that an NHWC activation reduced over N, H and W is (1, N H W, C) as it
    lies. Where kept and reduced dimensions alternate in memory, `block` goes through one permuted copy.
    """

    def __init__(self, x, dims):
        self.shape = x.shape
        self.dims = frozenset(dims)
        self.order = order = memory_order(x)
        self.kept = [d for d in order if d not in self.dims]
        places = [i for i, d in enumerate(order) if d in self.dims]
        self.permuted = bool(places) and places[-1] - places[0] + 1 != len(places)
        size = x.shape
        if self.permuted:
            self.order = order = self.kept + [order[i] for i in places]
            places = range(len(self.kept), len(order))
        first, last = (places[0], places[-1] + 1) if places else (0, 0)
        self.outer = math.prod([size[d] for d in order[:first]])
        self.n = math.prod([size[d] for d in order[first:last]])
        self.inner = math.prod([size[d] for d in order[last:]])

    def block(self, x):
        """(outer, n, inner) of x, a dense array with the strides this grouping was made for."""
        if self.permuted:
            stride = x.stride()
            x = contiguous(as_strided(x, [x.shape[d] for d in self.order], [stride[d] for d in self.order]))
        return as_block(x, self.outer, self.n, self.inner)

    def like_input(self, block):
        """Undo `block` for an array of the kernel: the same memory under the input's shape."""
        stride, step = [1] * len(self.shape), 1
        for d in reversed(self.order):
            stride[d] = step
            step *= self.shape[d]
        return as_strided(block, self.shape, stride)

    def result_shape(self, keepdim):
        if keepdim:
            return tuple(1 if d in self.dims else size for d, size in enumerate(self.shape))
        return tuple(size for d, size in enumerate(self.shape) if d not in self.dims)

    def new_result(self, dtype, device, keepdim):
        """(array for the caller, the same memory as (outer, inner)); in C order, or NHWC where the input's dimensions say so."""
        shape = self.result_shape(keepdim)
        nhwc = len(shape) == 4 and self.kept == [d for d in (0, 2, 3, 1) if d in self.kept]
        if self.kept == sorted(self.kept) or nhwc:
            out = empty(shape, dtype, device, channels_last=nhwc and self.kept != sorted(self.kept))
            return out, as_strided(out, (self.outer, self.inner), (self.inner, 1))
        flat = empty((self.outer, self.inner), dtype, device)
        return None, flat

    def finish(self, out, flat, keepdim):
        """What new_result gave, after the kernel: a result whose dimensions lie in an odd order is copied into C order."""
        if out is not None:
            return out
        stride, step = dict.fromkeys(range(len(self.shape)), 1), 1
        for d in reversed(self.kept):
            stride[d] = step
            step *= self.shape[d]
        wanted = [stride[d] for d in range(len(self.shape)) if keepdim or d not in self.dims]
        return contiguous(as_strided(flat, self.result_shape(keepdim), wanted))

    def flat_result(self, grad, keepdim):
        """An array of the result's shape as (outer, inner), in the order of the input's memory."""
        stride = grad.stride()
        place = {d: i for i, d in enumerate(d for d in range(len(self.shape)) if keepdim or d not in self.dims)}
        ordered = as_strided(grad, [self.shape[d] for d in self.kept], [stride[place[d]] for d in self.kept])
        return as_strided(contiguous(ordered), (self.outer, self.inner), (self.inner, 1))


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
