"""The elements of a tensor in another order or place: flips, rolls, repeats, triangles, diagonals.

Reorderings are `index_select` with a computed index, or a `cat` of parts.
"""

import numpy as np

from kernelgrad.core import Array, Function, as_strided, copy_, empty, empty_like, from_numpy, kernel, move, zeros
from kernelgrad.core import contiguous as plain_contiguous
from kernelgrad.core.joining import cat
from kernelgrad.core.views import contiguous, narrow, normalize_dim, permute, reshape, transpose
from kernelgrad.ops.gathering import index_select

__all__ = [
    "diag",
    "diag_embed",
    "diagflat",
    "flip",
    "fliplr",
    "flipud",
    "repeat_interleave",
    "roll",
    "rot90",
    "tril",
    "triu",
]

_triangle = kernel("triangle_forward")


# ---- Reorderings ----


class Flip(Function):
    """A copy in which the elements of some dimensions stand in reversed order, and so does the gradient."""

    @staticmethod
    def forward(ctx, x, dims):
        ctx.dims = dims
        return flipped(x, dims)

    @staticmethod
    def backward(ctx, grad_out):
        return flipped(grad_out, ctx.dims), None


def flipped(x, dims):
    out = empty_like(x)
    if x.numel() == 0:
        return out
    if x.is_cuda:  # whose copies know no negative strides
        for d in dims:
            x = index_select(x, d, move(from_numpy(np.arange(x.shape[d] - 1, -1, -1)), x.device))
        return copy_(out, x)
    strides = x.stride()
    last = sum((x.shape[d] - 1) * strides[d] for d in dims if x.ndim)
    return copy_(out, as_strided(x, x.shape, [-s if d in dims else s for d, s in enumerate(strides)], last))


def flip(input, *along, dims=None):
    """A copy with the order of elements reversed along `dims`, ints or one tuple (views of negative stride do not
    exist, as in PyTorch)."""
    if dims is None:
        dims = tuple(along[0]) if len(along) == 1 and not isinstance(along[0], int) else along
    elif along:
        raise TypeError("flip() got multiple values for argument 'dims'")
    dims = (dims,) if isinstance(dims, int) else dims
    dims = [normalize_dim(d, input.ndim) for d in dims]
    if len(set(dims)) != len(dims):
        raise RuntimeError(f"flip: dim appears multiple times in the list of dims {dims}")
    return Flip.apply(input, dims)


def copied(x):
    return cat([x]) if x.ndim else reshape(cat([reshape(x, (1,))]), ())


def fliplr(input):
    return flip(input, 1)


def flipud(input):
    return flip(input, 0)


def roll(input, shifts, dims=None):
    """Elements shifted along `dims`, those that fall off the end coming back at the start; flattened where `dims` is
    None."""
    if dims is None:
        if not isinstance(shifts, int):
            (shifts,) = shifts
        return reshape(roll(reshape(input, (-1,)), shifts, 0), input.shape)
    shifts = (shifts,) if isinstance(shifts, int) else tuple(shifts)
    dims = (dims,) if isinstance(dims, int) else tuple(dims)
    if len(shifts) != len(dims):
        raise RuntimeError(f"shifts and dimensions must align. shifts: {len(shifts)}, dims:{len(dims)}")
    out = input
    for shift, d in zip(shifts, dims, strict=True):
        d = normalize_dim(d, input.ndim)
        n = out.shape[d]
        shift = shift % n if n else 0
        if shift:
            out = cat([narrow(out, d, n - shift, shift), narrow(out, d, 0, n - shift)], d)
    return out if out is not input else copied(input)


def rot90(input, k=1, dims=(0, 1)):
    """A copy rotated `k` times by 90 degrees, from the first of two dimensions towards the second."""
    if len(dims) != 2 or input.ndim < 2:
        raise RuntimeError(
            f"rot90: expected total rotation dims == 2 and total dims >= 2, got {len(dims)} of {input.ndim}"
        )
    first, second = (normalize_dim(d, input.ndim) for d in dims)
    if first == second:
        raise RuntimeError(f"rot90: expected rotation dims to be different, but got {dims[0]} and {dims[1]}")
    k %= 4
    if k == 0:
        return copied(input)
    if k == 2:
        return flip(input, first, second)
    return contiguous(transpose(flip(input, second if k == 1 else first), first, second))


def repeat_interleave(input, repeats=None, dim=None, *, output_size=None):
    """Each slice of `dim` repeated in place, `repeats` times (a number, or one number for each slice).

    Of a vector of numbers alone: its positions, each repeated so many times. `output_size` is what the numbers sum to.
    """
    if repeats is None:
        return repeat_interleave(from_numpy(np.arange(input.numel())), input, 0, output_size=output_size)
    if dim is None:
        input, dim = reshape(input, (-1,)), 0
    dim = normalize_dim(dim, input.ndim)
    n = input.shape[dim]
    counts = repeats.numpy().reshape(-1) if isinstance(repeats, Array) else np.atleast_1d(np.asarray(repeats))
    if counts.size not in (1, n):
        raise RuntimeError(
            "repeats must have the same size as input along dim, "
            "but "
            "got "
            "repeats.size(0) "
            "= "
            f"{counts.size} and input.size({dim}) = {n}"
        )
    if counts.size and counts.min() < 0:
        raise RuntimeError("repeats can not be negative")
    index = np.repeat(np.arange(n), counts if counts.size == n else counts[0])
    if output_size is not None and output_size != index.size:
        raise RuntimeError(f"repeat_interleave: Invalid output_size, expected {index.size} but got {output_size}")
    return index_select(input, dim, from_numpy(index))


# ---- Triangles and diagonals ----


class Triangle(Function):
    """x with everything above (or below) a diagonal set to 0; the gradient likewise."""

    @staticmethod
    def forward(ctx, x, diagonal, upper):
        ctx.diagonal, ctx.upper = diagonal, upper
        x = plain_contiguous(x)
        out = empty(x.shape, x.dtype, x.device)
        rows, columns = x.shape[-2:]
        if out.numel():
            _triangle((x, out), (x.numel() // columns, rows, columns, diagonal, upper))
        return out

    @staticmethod
    def backward(ctx, grad_out):
        return Triangle.forward(ctx, grad_out, ctx.diagonal, ctx.upper), None, None


def tril(input, diagonal=0):
    """The lower triangle of matrices (.., m, n), `diagonal` included; the rest is 0."""
    if input.ndim < 2:
        raise RuntimeError(f"tril: input tensor must have at least 2 dimensions, got {input.ndim}")
    return Triangle.apply(input, diagonal, 0)


def triu(input, diagonal=0):
    """The upper triangle of matrices (.., m, n), `diagonal` included; the rest is 0."""
    if input.ndim < 2:
        raise RuntimeError(f"triu: input tensor must have at least 2 dimensions, got {input.ndim}")
    return Triangle.apply(input, diagonal, 1)


def diagonal_by_index(input, offset, dim1, dim2):
    """`shape.diagonal`, as a copy through index_select, which knows its gradient."""
    rest = [d for d in range(input.ndim) if d not in (dim1, dim2)]
    rows, columns = input.shape[dim1], input.shape[dim2]
    flat = reshape(permute(input, [*rest, dim1, dim2]), (*(input.shape[d] for d in rest), rows * columns))
    n = max(min(rows + min(offset, 0), columns - max(offset, 0)), 0)
    first = offset if offset >= 0 else -offset * columns
    return index_select(flat, -1, from_numpy(first + np.arange(n) * (columns + 1)))


class DiagEmbed(Function):
    """The last dimension of x on the diagonal of a square matrix of zeros."""

    @staticmethod
    def forward(ctx, x, offset):
        ctx.offset = offset
        n = x.shape[-1] + abs(offset)
        out = zeros((*x.shape[:-1], n, n), x.dtype, x.device)
        copy_(diagonal_view(out, offset), x)
        return out

    @staticmethod
    def backward(ctx, grad_out):
        return diagonal_view(grad_out, ctx.offset), None


def diagonal_view(x, offset):
    stride, n = x.stride(), x.shape[-1] - abs(offset)
    start = offset * stride[-1] if offset >= 0 else -offset * stride[-2]
    return as_strided(x, (*x.shape[:-2], n), (*stride[:-2], stride[-2] + stride[-1]), start)


def diag_embed(input, offset=0, dim1=-2, dim2=-1):
    """Matrices whose diagonal (or the one `offset` above it) is the last dimension of `input`, 0 elsewhere.

    Their rows and columns are the dimensions `dim1` and `dim2` of the result.
    """
    nd = input.ndim + 1
    dim1, dim2 = normalize_dim(dim1, nd), normalize_dim(dim2, nd)
    if dim1 == dim2:
        raise RuntimeError(f"diag_embed: diagonal dimensions cannot be identical {dim1}, {dim2}")
    if input.ndim == 0:
        raise RuntimeError("diag_embed: expected a tensor of at least one dimension, got a 0-d one")
    out = DiagEmbed.apply(input, offset)
    order = list(range(nd - 2))
    for dim, source in sorted([(dim1, nd - 2), (dim2, nd - 1)]):
        order.insert(dim, source)
    return out if order == list(range(nd)) else contiguous(permute(out, order))


def diagflat(input, offset=0):
    """A matrix with all elements of `input` on a diagonal, 0 elsewhere."""
    return diag_embed(reshape(input, (-1,)), offset)


def diag(input, diagonal=0):
    """A vector as the diagonal of a matrix, or the diagonal of a matrix as a vector (a copy)."""
    if input.ndim == 1:
        return diag_embed(input, diagonal)
    if input.ndim != 2:
        raise RuntimeError(f"diag(): Supports 1D or 2D tensors. Got {input.ndim}D")
    return diagonal_by_index(input, diagonal, 0, 1)
