# ruff: noqa: F821 (T, math and cuda are put in by the compiler or the simulator)
"""Kernels for the tests of the CUDA compiler and simulator, written as those in kernels/*/cuda.py are."""

import numpy as np

TILE = 8


def _double(x):
    return x * T(FACTOR)


FACTOR = 2


def scale(x, out, n, s):
    s = T(s)
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = _double(x[i]) * s


def promotes(x, out, n, s):
    """A mistake: the float64 scalar is used as it came."""
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = x[i] * s


def where(condition, a, b, out, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = a[i] > b[i] if condition[i] else False


def rint(x, out, n):
    for i in range(cuda.grid(1), n, cuda.gridsize(1)):
        out[i] = math.rint(x[i])


def past_the_end(x, out, n):
    out[n] = x[0]


def matmul(a, b, c, m, n, k):
    """c (m, n) = a (m, k) b (k, n), a tile of c per block."""
    rows = cuda.shared.array((TILE, TILE), T)
    columns = cuda.shared.array((TILE, TILE), T)
    x, y = cuda.threadIdx.x, cuda.threadIdx.y
    row, column = cuda.blockIdx.y * TILE + y, cuda.blockIdx.x * TILE + x
    total = T(0)
    for start in range(0, k, TILE):
        rows[y, x] = a[row * k + start + x] if row < m and start + x < k else T(0)
        columns[y, x] = b[(start + y) * n + column] if column < n and start + y < k else T(0)
        cuda.syncthreads()
        for p in range(TILE):
            total += rows[y, p] * columns[p, x]
        cuda.syncthreads()
    if row < m and column < n:
        c[row * n + column] = total


def matmul_without_barrier(a, b, c, m, n, k):
    """A mistake: tiles are read before the others have filled them."""
    rows = cuda.shared.array((TILE, TILE), T)
    x, y = cuda.threadIdx.x, cuda.threadIdx.y
    rows[y, x] = a[y * k + x]
    total = T(0)
    for p in range(TILE):
        total += rows[y, p] * b[p * n + x]
    c[y * n + x] = total


def block_sum(x, out, n):
    """out[block] = the sum of row `block` of x (blocks, n), by shuffles within a warp and shared memory across."""
    partial = cuda.shared.array(32, T)
    total = T(0)
    for i in range(cuda.threadIdx.x, n, cuda.blockDim.x):
        total += x[cuda.blockIdx.x * n + i]
    for delta in (16, 8, 4, 2, 1):
        total += cuda.shfl_down_sync(0xFFFFFFFF, total, delta)
    if cuda.laneid == 0:
        partial[cuda.threadIdx.x // 32] = total
    cuda.syncthreads()
    if cuda.threadIdx.x == 0:
        total = T(0)
        for warp in range(cuda.blockDim.x // 32):
            total += partial[warp]
        out[cuda.blockIdx.x] = total


def votes(x, out, n):
    """Warp votes and counts, one value per thread."""
    i = cuda.threadIdx.x
    positive = x[i] > 0
    out[5 * i] = cuda.ballot_sync(0xFFFFFFFF, positive)
    out[5 * i + 1] = cuda.shfl_xor_sync(0xFFFFFFFF, i, 1)
    out[5 * i + 2] = cuda.shfl_up_sync(0xFFFFFFFF, i, 3)
    out[5 * i + 3] = cuda.syncthreads_count(1 if positive else 0)
    out[5 * i + 4] = cuda.popc(np.uint32(i))


def divergent(x, out, n):
    """A mistake: half of the threads wait for a barrier, the rest for their warp."""
    if cuda.threadIdx.x % 2:
        cuda.syncthreads()
    else:
        cuda.syncwarp()
    out[0] = x[0]


def histogram(x, out, n):
    """How often each of 4 values occurs, by atomics on shared memory."""
    counts = cuda.shared.array(4, np.int32)
    if cuda.threadIdx.x < 4:
        counts[cuda.threadIdx.x] = 0
    cuda.syncthreads()
    for i in range(cuda.threadIdx.x, n, cuda.blockDim.x):
        cuda.atomic.add(counts, x[i], 1)
    cuda.syncthreads()
    if cuda.threadIdx.x < 4:
        out[cuda.threadIdx.x] = counts[cuda.threadIdx.x]
