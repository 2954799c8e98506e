"""Shape: views, splitting, joining, repeating.

Views share memory (and its version) with their input; gradients flow through them. The plain ones are compiled
(core/views.pyx, core/joining.pyx) and only named here. Where strides cannot say what is asked, `reshape` copies and
`view` raises.
"""

import math
import operator

import numpy as np

from kernelgrad.core import Array, Function, as_strided, copy_, empty, fill_, from_numpy, zeros
from kernelgrad.core.joining import cat, split_sizes, stack, unbind
from kernelgrad.core.slicing import index_basic
from kernelgrad.core.views import (
    contiguous,
    expand,
    flatten,
    narrow,
    normalize_dim,
    permute,
    reshape,
    select,
    squeeze,
    transpose,
    unsqueeze,
    view,
)
from kernelgrad.ops.gathering import index_select
from kernelgrad.ops.rearranging import diagonal_by_index

__all__ = [
    "atleast_1d",
    "atleast_2d",
    "atleast_3d",
    "broadcast_tensors",
    "broadcast_to",
    "cat",
    "chunk",
    "concat",
    "contiguous",
    "diagonal",
    "dstack",
    "expand",
    "expand_as",
    "flatten",
    "hstack",
    "movedim",
    "narrow",
    "pad",
    "permute",
    "ravel",
    "repeat",
    "reshape",
    "reshape_as",
    "select",
    "split",
    "squeeze",
    "stack",
    "swapaxes",
    "t",
    "tensor_split",
    "tile",
    "transpose",
    "unbind",
    "unflatten",
    "unsqueeze",
    "view",
    "view_as",
    "vstack",
]

concat = cat
swapaxes = transpose


def t(input):
    """Transpose of a tensor of at most two dimensions (a view); RuntimeError above."""
    if input.ndim > 2:
        raise RuntimeError(f"t() expects a tensor with <= 2 dimensions, but self is {input.ndim}D")
    return transpose(input, 0, 1) if input.ndim == 2 else input


def ravel(input):
    """All elements in one dimension; a view where the memory allows."""
    return reshape(input, (-1,))


def unflatten(input, dim, sizes):
    """Dimension `dim` split into `sizes`, one of which may be -1."""
    dim = normalize_dim(dim, input.ndim)
    shape, n = input.shape, input.shape[dim]
    known = math.prod(s for s in sizes if s != -1)
    if (known and n % known) or (-1 not in sizes and known != n) or (known == 0 and n):
        raise RuntimeError(
            f"unflatten: Provided sizes {list(sizes)} don't multiply up to "
            "the "
            "size "
            "of "
            "dim "
            f"{dim} "
            f"({n}) in the input tensor"
        )
    sizes = [n // known if s == -1 else s for s in sizes]
    return reshape(input, (*shape[:dim], *sizes, *shape[dim + 1 :]))


def movedim(input, source, destination):
    """A view with some dimensions moved to new places, the others keeping their order."""
    source = (source,) if isinstance(source, int) else tuple(source)
    destination = (destination,) if isinstance(destination, int) else tuple(destination)
    if len(source) != len(destination):
        raise RuntimeError(
            f"movedim: Invalid source or destination dims: source ({list(source)} dims) should contain the same number "
            f"of dims as destination ({list(destination)} dims)"
        )
    source = [normalize_dim(d, input.ndim) for d in source]
    destination = [normalize_dim(d, input.ndim) for d in destination]
    for name, dims in (("source", source), ("destination", destination)):
        if len(set(dims)) != len(dims):
            raise RuntimeError(f"movedim: repeated dim in `{name}` ({dims})")
    order = [-1] * input.ndim
    for s, d in zip(source, destination, strict=True):
        order[d] = s
    rest = iter(d for d in range(input.ndim) if d not in source)
    return permute(input, [next(rest) if d < 0 else d for d in order])


def broadcast_to(input, shape):
    """A view of `input` with stretched dimensions of size 1."""
    return expand(input, shape)


def reshape_as(input, other):
    """`reshape` to the shape of `other`."""
    return reshape(input, other.shape)


def view_as(input, other):
    """`view` with the shape of `other`."""
    return view(input, other.shape)


def expand_as(input, other):
    """`expand` to the shape of `other`."""
    return expand(input, other.shape)


def broadcast_tensors(*tensors):
    """Views of the tensors, all in their common shape."""
    nd = max((x.ndim for x in tensors), default=0)
    shape = [1] * nd
    for x in tensors:
        for i, n in enumerate(x.shape, nd - x.ndim):
            if n != 1:
                if shape[i] not in (1, n):
                    raise RuntimeError(
                        f"The size of tensor a ({shape[i]}) must match the size "
                        "of "
                        "tensor "
                        "b "
                        f"({n}) "
                        "at "
                        f"non-singleton dimension {i}"
                    )
                shape[i] = n
    return tuple(expand(x, shape) for x in tensors)


def _each(function):
    """`function` of one tensor, or of each of several given one by one or as a list."""

    def over(*tensors):
        if len(tensors) == 1 and isinstance(tensors[0], Array):
            return function(tensors[0])
        return tuple(map(function, tensors[0] if len(tensors) == 1 else tensors))

    over.__name__ = over.__qualname__ = function.__name__
    over.__doc__ = f"{function.__doc__} Of several tensors, or a list of them, a tuple."
    return over


@_each
def atleast_1d(input):
    """A 0-d tensor as one of shape (1,), others as they are."""
    return reshape(input, (1,)) if input.ndim == 0 else input


@_each
def atleast_2d(input):
    """A vector as a matrix of one row, a 0-d tensor as (1, 1), others as they are."""
    return unsqueeze(atleast_1d(input), 0) if input.ndim < 2 else input


@_each
def atleast_3d(input):
    """A matrix with a last dimension of 1, a vector as (1, n, 1), a 0-d tensor as (1, 1, 1), others as they are."""
    return unsqueeze(atleast_2d(input), -1) if input.ndim < 3 else input


# ---- Splitting ----


def split(tensor, split_size_or_sections, dim=0):
    """Views of `tensor`, along `dim`, of one size (the last may be smaller) or of the sizes in a list."""
    if tensor.ndim == 0:
        raise RuntimeError("split expects at least a 1-dimensional tensor")
    n = tensor.shape[normalize_dim(dim, tensor.ndim)]
    if isinstance(split_size_or_sections, (tuple, list)):
        sizes = tuple(split_size_or_sections)
        if any(s < 0 for s in sizes) or sum(sizes) != n:
            raise RuntimeError(
                f"split_with_sizes expects split_sizes to sum exactly to {n} (input tensor's size at dimension {dim}), "
                f"but got split_sizes={list(sizes)}"
            )
        return split_sizes(tensor, sizes, dim)
    size = operator.index(split_size_or_sections)
    if size < 0 or (size == 0 and n):
        raise RuntimeError(
            f"split expects split_size be non-negative, and 0 only for an empty dimension, but got split_size={size}"
        )
    if n == 0:
        return split_sizes(tensor, (0,), dim)
    return split_sizes(tensor, (size,) * (n // size) + ((n % size,) if n % size else ()), dim)


def chunk(input, chunks, dim=0):
    """At most `chunks` views of equal size along `dim`; the last may be smaller."""
    if input.ndim == 0:
        raise RuntimeError("chunk expects at least a 1-dimensional tensor")
    if chunks <= 0:
        raise RuntimeError(f"chunk expects `chunks` to be greater than 0, got: {chunks}")
    n = input.shape[normalize_dim(dim, input.ndim)]
    if n == 0:
        return split_sizes(input, (0,) * chunks, dim)
    return split(input, -(-n // chunks), dim)


def tensor_split(input, indices_or_sections, dim=0):
    """Views along `dim`: a number of them, sizes differing by one at most, or cut at the given indices."""
    if input.ndim == 0:
        raise RuntimeError("tensor_split expected at least a 1-dimensional tensor, but got a tensor with 0 dims")
    n = input.shape[normalize_dim(dim, input.ndim)]
    if isinstance(indices_or_sections, Array):
        indices_or_sections = indices_or_sections.numpy().tolist()
    if isinstance(indices_or_sections, int):
        count = indices_or_sections
        if count <= 0:
            raise RuntimeError(f"number of sections must be larger than 0, got {count}")
        if count > max(n, 1 << 20):
            raise RuntimeError(f"tensor_split: {count} sections of a dimension of size {n} would nearly all be empty")
        return split_sizes(input, tuple(n // count + (i < n % count) for i in range(count)), dim)
    cuts = [0, *(min(max(i + n if i < 0 else i, 0), n) for i in indices_or_sections), n]
    return tuple(narrow(input, dim, a, max(b - a, 0)) for a, b in zip(cuts[:-1], cuts[1:], strict=True))


# ---- Joining and repeating ----


def hstack(tensors):
    """`cat` along dimension 1 (0 for 1-d tensors)."""
    tensors = [atleast_1d(x) for x in tensors]
    return cat(tensors, 0 if tensors and tensors[0].ndim == 1 else 1)


def vstack(tensors):
    """`cat` along dimension 0 of tensors made at least 2-d."""
    return cat([atleast_2d(x) for x in tensors], 0)


def dstack(tensors):
    """`cat` along dimension 2 of tensors made at least 3-d."""
    return cat([atleast_3d(x) for x in tensors], 2)


def sizes_of(arguments):
    """Ints given one by one or as one tuple."""
    return tuple(arguments[0]) if len(arguments) == 1 and not isinstance(arguments[0], int) else arguments


def repeat(input, *sizes):
    """Copies of `input` side by side, ``sizes[i]`` times along dimension i; leading new dimensions are allowed."""
    sizes = sizes_of(sizes)
    if len(sizes) < input.ndim:
        raise RuntimeError(
            "Number of dimensions of repeat dims can not be smaller than number of dimensions of tensor: "
            f"got {len(sizes)} for {input.ndim} dimensions"
        )
    if any(s < 0 for s in sizes):
        raise RuntimeError(f"repeat: Trying to create tensor with negative dimension in sizes {list(sizes)}")
    shape = (1,) * (len(sizes) - input.ndim) + tuple(input.shape)
    out = reshape(input, shape)
    for dim, times in enumerate(sizes):
        if times != 1:
            shape = out.shape
            wide = (*shape[:dim], times, *shape[dim:])
            out = reshape(expand(unsqueeze(out, dim), wide), (*shape[:dim], times * shape[dim], *shape[dim + 1 :]))
    return clone_of(out) if out.shares_storage(input) else out


def clone_of(x):
    """A recorded copy in C order."""
    return cat([x]) if x.ndim else reshape(cat([reshape(x, (1,))]), ())


def tile(input, *dims):
    """`repeat`, with missing leading entries of `dims` taken as 1."""
    dims = sizes_of(dims)
    return repeat(input, (1,) * (input.ndim - len(dims)) + tuple(dims))


# ---- Padding ----


def frame(out, inside, value):
    """Fill all of `out` but out[inside], or, where that is quicker, all of it."""
    if out.numel() < 4096:
        return fill_(out, value)
    for d, part in enumerate(inside):
        for side in (slice(0, part.start), slice(part.stop, out.shape[d])):
            if side.start < side.stop:
                fill_(index_basic(out, (*inside[:d], side)), value)
    return out


class ConstantPad(Function):
    """x in the middle (or, for negative widths, a part of x) of a block of one value."""

    @staticmethod
    def forward(ctx, x, widths, value):
        shape = tuple(n + a + b for n, (a, b) in zip(x.shape, widths, strict=True))
        ctx.inside = tuple(slice(max(a, 0), n - max(b, 0)) for n, (a, b) in zip(shape, widths, strict=True))
        ctx.kept = tuple(slice(max(-a, 0), n - max(-b, 0)) for n, (a, b) in zip(x.shape, widths, strict=True))
        ctx.shape, ctx.nhwc = x.shape, x.ndim == 4 and x.is_channels_last() and not x.is_contiguous()
        out = frame(empty(shape, x.dtype, x.device, ctx.nhwc), ctx.inside, value)
        if x.numel() and out.numel():
            copy_(index_basic(out, ctx.inside), index_basic(x, ctx.kept))
        return out

    @staticmethod
    def backward(ctx, grad_out):
        part = index_basic(grad_out, ctx.inside)
        if part.shape == ctx.shape:
            return part, None, None
        grad_x = zeros(ctx.shape, grad_out.dtype, grad_out.device, ctx.nhwc)
        if part.numel() and grad_x.numel():
            copy_(index_basic(grad_x, ctx.kept), part)
        return grad_x, None, None


def reflected(n, a, b):
    return n - 1 - np.abs(np.abs(np.arange(-a, n + b)) - (n - 1))


def circled(n, a, b):
    """Negative widths cut off first: what is left is what goes round."""
    first, kept = max(-a, 0), n - max(-a, 0) - max(-b, 0)
    return first + np.arange(-max(a, 0), kept + max(b, 0)) % kept


PAD_INDEX = {  # positions in 0 .. n-1 for each of a + n + b places
    "reflect": reflected,
    "replicate": lambda n, a, b: np.clip(np.arange(-a, n + b), 0, n - 1),
    "circular": circled,
}


def pad(input, pad, mode="constant", value=None):
    """`input` with `pad` places added before and behind its last dimensions, last dimension first: (left, right, top,
    bottom, ..).

    Parameters
    ----------
    pad : even number of ints; negative ones cut off
    mode : "constant" (with `value`, default 0), "reflect", "replicate" or "circular"
    """
    pad = tuple(operator.index(p) for p in pad)
    if len(pad) % 2:
        raise RuntimeError(f"Padding length must be divisible by 2, got {len(pad)}")
    if len(pad) // 2 > input.ndim:
        raise RuntimeError(
            "Padding length should be less than or equal to two times the "
            "input "
            "dimension "
            "but "
            "got "
            f"padding length {len(pad)} and input of dimension {input.ndim}"
        )
    widths = [(0, 0)] * (input.ndim - len(pad) // 2) + [(pad[i], pad[i + 1]) for i in range(len(pad) - 2, -1, -2)]
    for d, (a, b) in enumerate(widths):
        if input.shape[d] + min(a, 0) + min(b, 0) < 0:  # what is cut off must be there, whatever is added
            raise RuntimeError(
                f"pad: widths {a} and {b} cut more off dimension {d} than its size {input.shape[d]}: "
                "negative ones may remove no more than there is"
            )
    if mode == "constant":
        return ConstantPad.apply(input, widths, 0 if value is None else value)
    if mode not in PAD_INDEX:
        raise NotImplementedError(f"Unrecognised padding mode {mode}")
    if value is not None:
        raise ValueError(f'Padding mode "{mode}" doesn\'t take in value argument')
    out = input
    for d, (a, b) in enumerate(widths):
        n = input.shape[d]
        if a == 0 and b == 0:
            continue
        if mode != "replicate" and max(a, b) > (n - 1 if mode == "reflect" else n):
            bound = "less than" if mode == "reflect" else "less than or equal to"
            raise RuntimeError(
                f"Padding size should be {bound} the input dimension for mode {mode!r}, but got: padding ({a}, {b}) at "
                f"dimension {d} of input {list(input.shape)}"
            )
        if n == 0:
            raise RuntimeError(f"pad: mode {mode!r} cannot pad dimension {d} of size 0")
        out = index_select(out, d, from_numpy(PAD_INDEX[mode](n, a, b)))
    return out if out is not input else clone_of(input)


# ---- Views along two dimensions ----


def diagonal(input, offset=0, dim1=0, dim2=1):
    """A view of the diagonal of two dimensions, as the last dimension of the result."""
    dim1, dim2 = normalize_dim(dim1, input.ndim), normalize_dim(dim2, input.ndim)
    if dim1 == dim2:
        raise RuntimeError(f"diagonal dimensions cannot be identical {dim1}, {dim2}")
    if input.requires_grad:
        return diagonal_by_index(input, offset, dim1, dim2)
    rows, columns = input.shape[dim1] + min(offset, 0), input.shape[dim2] - max(offset, 0)
    stride = input.stride()
    start = stride[dim2] * offset if offset >= 0 else -stride[dim1] * offset
    kept = [d for d in range(input.ndim) if d not in (dim1, dim2)]
    n = max(min(rows, columns), 0)
    shape = [*(input.shape[d] for d in kept), n]
    return as_strided(input, shape, [*(stride[d] for d in kept), stride[dim1] + stride[dim2]], start if n else 0)
