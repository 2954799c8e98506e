"""Tensors made of several: grids, products of vectors and matrices, distances, blocks."""

import itertools

import numpy as np

from kernelgrad.core import Size, as_strided, from_numpy, int64, move
from kernelgrad.core.joining import cat, stack
from kernelgrad.core.views import expand, normalize_dim, reshape, unsqueeze
from kernelgrad.ops.creation import tensor
from kernelgrad.ops.elementwise import add, mul, sub
from kernelgrad.ops.gathering import index_select
from kernelgrad.ops.matmul import bmm, dot, outer
from kernelgrad.ops.rearranging import roll
from kernelgrad.ops.reduction import norm, sum
from kernelgrad.ops.shape import atleast_2d, broadcast_tensors, diagonal, movedim, pad

__all__ = [
    "addbmm",
    "addr",
    "block_diag",
    "broadcast_shapes",
    "cartesian_prod",
    "cdist",
    "column_stack",
    "combinations",
    "cross",
    "dist",
    "kron",
    "meshgrid",
    "trace",
    "tril_indices",
    "triu_indices",
    "vdot",
]

vdot = dot


def broadcast_shapes(*shapes):
    """The shape that tensors of these shapes broadcast to. RuntimeError where they do not."""
    try:
        return Size(np.broadcast_shapes(*((s,) if isinstance(s, int) else tuple(s) for s in shapes)))
    except ValueError:
        raise RuntimeError(f"broadcast_shapes: shapes {', '.join(map(str, shapes))} do not broadcast") from None


def meshgrid(*tensors, indexing="ij"):
    """Views of vectors, each along its own dimension of a common grid; with "xy" the first two dimensions are swapped.

    Tensors of no dimension count as vectors of one element.
    """
    if len(tensors) == 1 and isinstance(tensors[0], (list, tuple)):
        tensors = tuple(tensors[0])
    if not tensors:
        raise RuntimeError("meshgrid expects a non-empty TensorList")
    if indexing not in ("ij", "xy"):
        raise RuntimeError(f"meshgrid: indexing must be one of 'xy' or 'ij', but received: {indexing}")
    for x in tensors:
        if x.ndim > 1:
            raise RuntimeError(f"meshgrid: Expected scalar or 1D tensor in the tensor list but got: {tuple(x.shape)}")
    places = list(range(len(tensors)))
    if indexing == "xy":
        places[:2] = places[:2][::-1]
    shape = [1] * len(tensors)
    for x, d in zip(tensors, places):
        shape[d] = x.numel()
    return tuple(
        expand(reshape(x, [x.numel() if i == d else 1 for i in range(len(tensors))]), shape)
        for x, d in zip(tensors, places)
    )


def cartesian_prod(*tensors):
    """All choices of one element from each vector, as the rows of a matrix; of one vector, itself."""
    if len(tensors) == 1:
        return tensors[0]
    return stack([reshape(x, (-1,)) for x in meshgrid(*tensors)], 1)


def combinations(input, r=2, with_replacement=False):
    """All choices of `r` elements of a vector, in order of position, as the rows of a matrix."""
    if input.ndim != 1:
        raise RuntimeError(f"Expect a 1D vector, but got shape {tuple(input.shape)}")
    if r < 0:
        raise RuntimeError(f"Expect a non-negative number, but got {r}")
    choose = itertools.combinations_with_replacement if with_replacement else itertools.combinations
    rows = np.array(list(choose(range(input.numel()), r)), np.int64).reshape(-1, r)
    if r == 0:
        return tensor([], dtype=input.dtype)
    return reshape(index_select(input, 0, from_numpy(rows.reshape(-1))), rows.shape)


def tril_indices(row, col, offset=0, *, dtype=int64, device=None):
    """Row and column numbers of the lower triangle of a (row, col) matrix, up to diagonal `offset`: shape (2, n)."""
    return tensor(np.stack(np.tril_indices(row, offset, col)), dtype=dtype, device=device)


def triu_indices(row, col, offset=0, *, dtype=int64, device=None):
    """Row and column numbers of the upper triangle of a (row, col) matrix, from diagonal `offset`: shape (2, n)."""
    return tensor(np.stack(np.triu_indices(row, offset, col)), dtype=dtype, device=device)


def block_diag(*tensors):
    """The matrices (vectors as rows, 0-d tensors as 1 by 1) along the diagonal of one, 0 elsewhere."""
    blocks = [atleast_2d(x) for x in tensors]
    if any(x.ndim > 2 for x in blocks):
        raise RuntimeError("block_diag: Input tensors must have 2 or fewer dimensions")
    if not blocks:
        return tensor([[]])
    wide, left, rows = np.sum([x.shape[1] for x in blocks]), 0, []
    for x in blocks:
        rows.append(pad(x, (left, int(wide) - left - x.shape[1])))
        left += x.shape[1]
    return cat(rows, 0)


def column_stack(tensors):
    """`cat` along dimension 1 of tensors, vectors as columns."""
    return cat([reshape(x, (-1, 1)) if x.ndim < 2 else x for x in tensors], 1)


def kron(input, other):
    """Kronecker product: each element of `input` times the whole of `other`, in its place."""
    n = max(input.ndim, other.ndim)
    a, b = ((1,) * (n - x.ndim) + tuple(x.shape) for x in (input, other))
    x = reshape(input, [size for d in a for size in (d, 1)])
    y = reshape(other, [size for d in b for size in (1, d)])
    return reshape(mul(x, y), [i * j for i, j in zip(a, b)])


def trace(input):
    """Sum of the diagonal of a matrix."""
    if input.ndim != 2:
        raise RuntimeError(f"trace: expected a matrix, but got tensor with dim {input.ndim}")
    return sum(diagonal(input))


def addr(input, vec1, vec2, *, beta=1, alpha=1):
    """``beta * input + alpha * outer(vec1, vec2)``; with beta 0 the nan of `input` do not count."""
    product = outer(vec1, vec2)
    product = product if alpha == 1 else mul(product, alpha)
    return product if beta == 0 else add(input if beta == 1 else mul(input, beta), product)


def addbmm(input, batch1, batch2, *, beta=1, alpha=1):
    """``beta * input + alpha * (sum of batch1[i] @ batch2[i])``; with beta 0 the nan of `input` do not count."""
    product = sum(bmm(batch1, batch2), 0)
    if not product.dtype.is_floating_point:
        beta, alpha = int(beta), int(alpha)
    product = product if alpha == 1 else mul(product, alpha)
    return product if beta == 0 else add(input if beta == 1 else mul(input, beta), product)


def cross(input, other, dim=None):
    """Cross product of vectors of three along `dim` (the first dimension of size 3 where not given), broadcast."""
    x, y = broadcast_tensors(input, other)
    if dim is None:
        dim = next((d for d, n in enumerate(x.shape) if n == 3), None)
        if dim is None:
            raise RuntimeError(f"cross: no dimension of size 3 in input {tuple(x.shape)}")
    if x.shape[normalize_dim(dim, x.ndim)] != 3:
        raise RuntimeError(f"cross: inputs dimension {dim} must have length 3. Got {x.shape[dim]}")
    return sub(mul(roll(x, -1, dim), roll(y, -2, dim)), mul(roll(x, -2, dim), roll(y, -1, dim)))


def dist(input, other, p=2):
    """`norm` of the difference of two tensors, which broadcast."""
    return norm(sub(input, other), p)


def cdist(x1, x2, p=2.0, compute_mode=None):
    """Distances of the rows of two batches of matrices, (.., m, k) and (.., n, k): (.., m, n).

    They are norms of differences whatever `compute_mode` is: (.., m, n, k) numbers are in memory at a time. The slope
    is 0 where the distance is.
    """
    if x1.ndim < 2 or x2.ndim < 2 or x1.shape[-1] != x2.shape[-1]:
        raise RuntimeError(
            f"cdist: expected matrices of equally many columns, got {tuple(x1.shape)} and {tuple(x2.shape)}"
        )
    if p < 0:
        raise RuntimeError(f"cdist only supports non-negative p values, got {p}")
    return norm(sub(unsqueeze(x1, -2), unsqueeze(x2, -3)), p, -1)


def unfold(input, dimension, size, step):
    """Windows of `size` along `dimension`, `step` apart, as a new last dimension; a view outside of a graph."""
    dim = normalize_dim(dimension, input.ndim)
    if input.ndim == 0:  # one window, and no dimension of windows
        return reshape(unfold(reshape(input, (1,)), 0, size, step), (size,))
    x, n = input, input.shape[dim]
    if size < 0 or size > n:
        raise RuntimeError(f"maximum size for tensor at dimension {dim} is {n} but size is {size}")
    if step <= 0:
        raise RuntimeError(f"step is {step} but must be > 0")
    count = (n - size) // step + 1
    if not x.requires_grad:
        stride = x.stride()
        shape = [count if d == dim else m for d, m in enumerate(x.shape)]
        steps = [step * m if d == dim else m for d, m in enumerate(stride)]
        return as_strided(x, [*shape, size], [*steps, stride[dim]], 0)
    places = (np.arange(count)[:, None] * step + np.arange(size)).reshape(-1)
    taken = index_select(x, dim, move(from_numpy(places), x.device))
    taken = reshape(taken, (*x.shape[:dim], count, size, *x.shape[dim + 1 :]))
    return movedim(taken, dim + 1, -1)
